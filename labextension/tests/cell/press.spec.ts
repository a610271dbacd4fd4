import { expect, it } from 'vitest';

import { type Press, press } from '../../src/cell/press';

it.each<[string, boolean, boolean, boolean, Press]>([
  // on, running, cancellable
  ['an ordinary cell is turned on and run', false, false, false, 'run'],
  ['a plain cell that runs is turned on for the next time', false, true, false, 'on'],
  ['a cell that is on is turned off', true, false, false, 'off'],
  ['a cell whose job runs has it cancelled', true, true, true, 'cancel'],
  ['a cell that runs without a job is left alone', true, true, false, 'none'],
  ['a job that outlived a reload of the page is cancelled', true, false, true, 'cancel'],
  [
    'a job of a cell that was turned off meanwhile is cancelled',
    false,
    true,
    true,
    'cancel'
  ]
])('%s', (_, on, running, cancellable, what) => {
  expect(press({ on, running, cancellable })).toBe(what);
});
