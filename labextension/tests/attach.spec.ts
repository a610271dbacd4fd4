import { nullTranslator } from '@jupyterlab/translation';
import { describe, expect, it } from 'vitest';

import type { IJob } from '../src/api/types';
import { effect, lacking, missing } from '../src/panel/job/attach';
import { factsOf } from '../src/panel/job/facts';
import { job } from './make';

const trans = nullTranslator.load('cloudbutton');

const LOST: Partial<IJob> = { state: 'lost', done: 137, can_attach: true };

const EFFECTS: Record<string, [Partial<IJob>, string]> = {
  'of a lost job': [
    LOST,
    'Attach here goes on with it in this notebook: 137 finished are kept, 63 run on local.'
  ],
  'of a job whose items are not counted': [
    { ...LOST, total: null },
    'Attach here goes on with it in this notebook: 137 finished are kept, and what else it was given runs on local.'
  ],
  'of a job that was killed at its very end': [
    { ...LOST, done: 200 },
    'Attach here brings its 200 results. Nothing runs again.'
  ],
  'of a done job': [{}, 'Attach here brings its 200 results. Nothing runs again.'],
  'of a detached job': [
    { state: 'running', done: 20, detached: true },
    'Attach here follows it to its end and brings the results. Nothing runs twice.'
  ],
  'of a cell': [
    { ...LOST, kind: 'button' },
    'Attach here runs the cell again in this notebook. It needs what the cells above define; of 137 finished, those stay whose code and values are then the same.'
  ]
};

describe('what attaching does', () => {
  it.each(Object.entries(EFFECTS))('is said %s', (_, [part, text]) => {
    expect(effect(job('a', part), trans)).toBe(text);
  });

  it('runs failed items too', () => {
    expect(missing(job('a', { state: 'failed', done: 190, failed: 4 }))).toBe(10);
  });
});

const BUDGETS: [string, Partial<IJob>, number][] = [
  [
    'what its items cost so far, and a fifth',
    { done: 100, spend: 0.5, budget: 0.5 },
    0.6
  ],
  ['less what is left', { done: 100, spend: 0.4, budget: 0.5 }, 0.38],
  ['nothing where the budget will do', { done: 190, spend: 0.4, budget: 0.5 }, 0],
  ['nothing without a budget', { done: 100, spend: 0.5 }, 0],
  ['nothing where nothing is known', { done: 0, spend: 0.5, budget: 0.5 }, 0],
  ['only items that cost', { done: 100, cached: 50, spend: 0.5, budget: 0.5 }, 1.2]
];

describe('what a budget lacks', () => {
  it.each(BUDGETS)('is %s', (_, part, expected) => {
    expect(lacking(job('a', { state: 'failed', ...part }))).toBe(expected);
  });
});

describe('the facts of a job', () => {
  const shown = (part: Partial<IJob>) =>
    Object.fromEntries(
      factsOf(job('a', part), 10, trans)
        .filter(fact => fact !== null)
        .map(({ name, value, more }) => [name, more ? [value, more] : value])
    );

  it('have what is set aside beside what is spent while it runs', () => {
    const part: Partial<IJob> = {
      state: 'running',
      spend: 0.1,
      committed: 0.04,
      budget: 0.5
    };
    expect(shown(part)).toMatchObject({
      Spent: '$0.10 of at most $0.50',
      'Set aside': '$0.04'
    });
    expect(shown({ ...part, state: 'failed' })).not.toHaveProperty('Set aside');
  });

  it('have the expected time and its interval beside the elapsed one', () => {
    const estimate_seconds = { expected: 8, low: 6, high: 11 };
    expect(shown({ estimate_seconds })).toMatchObject({
      Took: '10.0 s',
      Expected: ['8.0 s', '6.0 s to 11.0 s']
    });
    expect(shown({ estimate: { expected: 0, low: 0, high: 0 } })).not.toHaveProperty(
      'Estimated'
    );
  });

  it('say how many came from the cache', () => {
    expect(shown({ cached: 37 })).toMatchObject({ 'From the cache': '37' });
    expect(shown({ cached: 200 })).toMatchObject({ 'From the cache': 'all' });
  });
});
