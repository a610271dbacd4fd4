import { nullTranslator } from '@jupyterlab/translation';
import { describe, expect, it } from 'vitest';

import {
  type Choice,
  choiceOf,
  describe as described,
  headerOf,
  parseBudget,
  turnedOff,
  turnedOn,
  withOption
} from '../../src/cell/choice';

const trans = nullTranslator.load('cloudbutton');
const NOTHING = { backend: '', budget: 0 };

describe('the metadata of a cell', () => {
  it.each<[string, unknown, boolean]>([
    ['absent', undefined, false],
    ['null', null, false],
    ['a word', 'on', false],
    ['a list', [true], false],
    ['on', { on: true }, true],
    ['off', { on: false }, false],
    ['options alone', { backend: 'lambda' }, false],
    ['on, but not as we write it', { on: 'true' }, false]
  ])('%s is read as it was meant', (_, metadata, on) => {
    expect(choiceOf(metadata).on).toBe(on);
  });

  it('keeps options that this version does not know: the kernel refuses them by name', () => {
    expect(choiceOf({ on: true, speed: 9 })).toEqual({ on: true, speed: 9 });
  });
});

describe('turning on', () => {
  it('takes backend and budget from the settings', () => {
    const choice = turnedOn({ on: false }, { backend: 'lambda', budget: 0.5 });
    expect(choice).toEqual({ on: true, backend: 'lambda', budget: 0.5 });
  });

  it('leaves what the cell said before as it is', () => {
    const choice = turnedOn(
      { on: false, backend: 'local' },
      { backend: 'lambda', budget: 0 }
    );
    expect(choice).toEqual({ on: true, backend: 'local' });
  });

  it('says nothing that the settings do not say', () => {
    expect(turnedOn({ on: false }, NOTHING)).toEqual({ on: true });
  });
});

describe('turning off', () => {
  it('removes the metadata where it would say nothing else', () => {
    expect(turnedOff({ on: true })).toBeNull();
  });

  it('remembers options for the next time', () => {
    expect(turnedOff({ on: true, budget: 2 })).toEqual({ on: false, budget: 2 });
  });
});

it('removes an option by null', () => {
  const choice: Choice = { on: true, backend: 'lambda', budget: 2 };
  expect(withOption(choice, 'budget', null)).toEqual({ on: true, backend: 'lambda' });
  expect(withOption(choice, 'budget', 3)).toEqual({
    on: true,
    backend: 'lambda',
    budget: 3
  });
});

it.each<[Choice, string, string]>([
  [{ on: true }, '', '%%cloud'],
  [{ on: true, backend: 'lambda' }, 'lambda', '%%cloud --backend lambda'],
  [
    { on: true, backend: 'lambda', budget: 0.5, workers: 8 },
    'lambda · $0.50 · 8 workers',
    '%%cloud --backend lambda --budget 0.5 --workers 8'
  ],
  [{ on: true, workers: 1 }, '1 worker', '%%cloud --workers 1']
])(
  '%j is described on the badge, and as the line that means the same',
  (choice, badge, line) => {
    expect(described(choice, trans)).toBe(badge);
    expect(headerOf(choice)).toBe(line);
  }
);

it.each<[string, number | null | undefined]>([
  ['', null],
  ['  ', null],
  ['$', null],
  ['0.5', 0.5],
  ['$0.50', 0.5],
  ['$ 2', 2],
  ['1,50', 1.5],
  ['.25', 0.25],
  ['0', undefined],
  ['-1', undefined],
  ['1e9', undefined],
  ['ten', undefined],
  ['1.2.3', undefined]
])('the budget %j is read as %s', (text, dollars) => {
  expect(parseBudget(text)).toBe(dollars);
});
