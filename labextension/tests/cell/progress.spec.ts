import { nullTranslator } from '@jupyterlab/translation';
import { expect, it } from 'vitest';

import type { IJob } from '../../src/api/types';
import { type IProgress, progressOf } from '../../src/cell/progress';

const trans = nullTranslator.load('cloudbutton');
const RUNNING = {
  state: 'running',
  total: 200,
  done: 50,
  failed: 0,
  spend: 0,
  eta: null
} as unknown as IJob;

it.each<[string, Partial<IJob>, IProgress | null]>([
  ['what is done of all', {}, { text: '50/200', brief: '50/200', part: 0.25 }],
  [
    'how long it will take',
    { eta: 12 },
    { text: '50/200 · about 12 s left', brief: '50/200', part: 0.25 }
  ],
  [
    'what failed',
    { failed: 50 },
    { text: '100/200 · 50 failed', brief: '100/200', part: 0.5 }
  ],
  [
    'what it cost so far',
    { spend: 0.25 },
    { text: '50/200 · $0.25', brief: '50/200', part: 0.25 }
  ],
  [
    'no part of an unknown whole',
    { total: null },
    { text: '50', brief: '50', part: null }
  ],
  [
    'that it is being cancelled',
    { state: 'cancelling' },
    { text: 'cancelling', brief: 'cancelling', part: 0.25 }
  ],
  ['nothing of a job that ended', { state: 'done' }, null],
  ['nothing of a job that was lost', { state: 'lost' }, null]
])('a badge shows %s', (_, change, shown) => {
  expect(progressOf({ ...RUNNING, ...change }, trans)).toEqual(shown);
});

it('shows nothing of a cell without a job', () => {
  expect(progressOf(undefined, trans)).toBeNull();
});
