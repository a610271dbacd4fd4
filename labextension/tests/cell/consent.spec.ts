import { expect, it } from 'vitest';

import { agreed, withConsent } from '../../src/cell/consent';

const TODAY = new Date('2026-11-20T12:00:00Z');

it.each([
  undefined,
  null,
  'lambda',
  [],
  { consent: 'lambda' },
  { consent: { lambda: true } }
])('metadata %j holds no consent', metadata => {
  expect(agreed(metadata, 'ada')).toEqual([]);
});

it('is remembered in the notebook with the date and who gave it', () => {
  const metadata = withConsent(undefined, 'lambda', 'ada', TODAY);
  expect(metadata).toEqual({ consent: { lambda: { date: '2026-11-20', user: 'ada' } } });
  expect(agreed(metadata, 'ada')).toEqual(['lambda']);
});

it('of somebody else does not count', () => {
  const metadata = withConsent(undefined, 'lambda', 'ada', TODAY);
  expect(agreed(metadata, 'grace')).toEqual([]);
});

it('of somebody without a name is not taken for that of another one', () => {
  const metadata = withConsent(undefined, 'lambda', '', TODAY);
  expect(agreed(metadata, '')).toEqual([]);
});

it('for one backend leaves others, and whatever else is there, alone', () => {
  const before = { consent: { dask: { date: '2026-01-01', user: 'ada' } }, theme: 'x' };
  const metadata = withConsent(before, 'lambda', 'ada', TODAY);
  expect(agreed(metadata, 'ada')).toEqual(['dask', 'lambda']);
  expect(metadata.theme).toBe('x');
});
