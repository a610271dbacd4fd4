import { nullTranslator } from '@jupyterlab/translation';
import { expect, it } from 'vitest';

import wording from '../../tests/wording.json';
import * as format from '../src/format';
import { DAYS, daily } from '../src/panel/spend/model';

const trans = nullTranslator.load('');

const WORDED: Record<string, (value: number) => string> = {
  durations: seconds => format.duration(seconds, trans),
  'time left': seconds => format.timeLeft(seconds, trans),
  money: format.money,
  sizes: format.bytes,
  counts: format.count
};

it.each(
  Object.entries(wording).flatMap(([kind, cases]) =>
    cases.map(([value, text]) => [kind, value as number, text as string] as const)
  )
)('%s are worded as in the kernel: %s is %s', (kind, value, text) => {
  expect(WORDED[kind]?.(value)).toBe(text);
});

it.each([
  [0, '0%'],
  [0.004, '0.4%'],
  [0.072, '7%'],
  [0.9, '90%'],
  [0.998, '99%'],
  [1, '100%'],
  [1.5, '150%']
])('a share of %s is %s', (share, text) => {
  expect(format.percent(share)).toBe(text);
});

it.each([
  [12.5, 2.5, '12.5 s'],
  [100.05, 0.05, '100.05 s'],
  [40, 20, '40 s'],
  [100, 20, '1 min 40 s']
])('%s seconds on an axis in steps of %s are %s', (seconds, step, text) => {
  expect(format.tick(seconds, step, trans)).toBe(text);
});

it.each([
  [4.12, '4.1/s'],
  [1250, '1,250/s'],
  [0.2, '12/min'],
  [0.001, '3.6/h']
])('%s items a second are %s', (rate, text) => {
  expect(format.rate(rate, trans)).toBe(text);
});

it('spending is shown for each of the last days, those without a job too', () => {
  const day = (date: string, spend: number, emulated = false) => ({
    date,
    backend: 'lambda',
    emulated,
    jobs: 1,
    spend,
    estimate: null
  });
  const spend = {
    days: [
      day('2026-11-02', 1),
      day('2026-11-02', 2),
      day('2026-11-02', 9, true), // nobody pays that
      day('2026-10-31', 4)
    ],
    month: [],
    total: 3,
    today: { spend: 0, budget: null },
    estimates: { money: null, seconds: null }
  };
  const days = daily(spend, new Date(2026, 10, 3, 0, 5));
  expect(days).toHaveLength(DAYS);
  expect(days.slice(-4).map(({ date, spend }) => [date, spend])).toEqual([
    ['2026-10-31', 4],
    ['2026-11-01', 0],
    ['2026-11-02', 3],
    ['2026-11-03', 0]
  ]);
});
