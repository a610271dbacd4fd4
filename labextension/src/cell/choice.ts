/**
 * What a cell's metadata says about the button: values and pure functions, no JupyterLab.
 *
 *     cell.metadata.cloudbutton = { "on": true, "backend": "lambda", "budget": 0.5 }
 *
 * JupyterLab sends a cell's metadata along with each execution, so the kernel reads it there.
 */

import type { TranslationBundle } from '@jupyterlab/translation';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { money } from '../format';

/** In the metadata of a cell, and of a notebook. */
export const KEY = 'cloudbutton';

/** Options as they stand in the metadata; the kernel refuses those that it does not know. */
export type Choice = ReadonlyPartialJSONObject & { readonly on: boolean };

/** What the settings give to a cell that is turned on for the first time. */
export interface IDefaults {
  /** Empty: whatever the kernel's own settings say. */
  readonly backend: string;
  /** US dollars; 0 for none. */
  readonly budget: number;
}

/** Read the metadata; whatever is not ours is off. */
export function choiceOf(metadata: unknown): Choice {
  if (typeof metadata !== 'object' || metadata === null || Array.isArray(metadata)) {
    return { on: false };
  }
  const found = metadata as ReadonlyPartialJSONObject;
  return { ...found, on: found.on === true };
}

/** The choice of a cell that is turned on; what it said before stays. */
export function turnedOn(choice: Choice, defaults: IDefaults): Choice {
  return {
    ...(defaults.backend ? { backend: defaults.backend } : {}),
    ...(defaults.budget > 0 ? { budget: defaults.budget } : {}),
    ...choice,
    on: true
  };
}

/** The choice of a cell that is turned off, null where nothing is left to say. */
export function turnedOff(choice: Choice): Choice | null {
  const { on: _, ...rest } = choice;
  return Object.keys(rest).length > 0 ? { ...rest, on: false } : null;
}

/** The choice with one option changed; null removes it. */
export function withOption(
  choice: Choice,
  name: 'backend' | 'budget',
  value: string | number | null
): Choice {
  const { [name]: _, ...rest } = choice;
  return { ...rest, ...(value === null ? {} : { [name]: value }), on: choice.on };
}

/** "lambda · $0.50 · 8 workers"; empty where nothing but the settings decides. */
export function describe(choice: Choice, trans: TranslationBundle): string {
  const { backend, budget, workers } = choice;
  const parts: string[] = [];
  if (typeof backend === 'string') {
    parts.push(backend);
  }
  if (typeof budget === 'number') {
    parts.push(money(budget));
  }
  if (typeof workers === 'number') {
    parts.push(trans._n('%1 worker', '%1 workers', workers));
  }
  return parts.join(' · ');
}

/** The line that means the same, written above the cell: "%%cloud --backend lambda". */
export function headerOf(choice: Choice): string {
  const words = Object.entries(choice)
    .filter(([name, value]) => name !== 'on' && value !== null && value !== undefined)
    .map(([name, value]) => ` --${name} ${value}`);
  return `%%cloud${words.join('')}`;
}

/** What a field takes that `parseBudget` reads. */
export const BUDGET = '\\s*\\$?\\s*(\\d*[.,]?\\d+)?\\s*';

/** Dollars as a user writes them ("0.5", "$0.50", "1,50"): null for none, undefined for no number. */
export function parseBudget(text: string): number | null | undefined {
  const plain = text
    .trim()
    .replace(/^\$\s*/, '')
    .replace(',', '.');
  if (plain === '') {
    return null;
  }
  const value = /^\d*\.?\d+$/.test(plain) ? Number(plain) : Number.NaN;
  return value > 0 && Number.isFinite(value) ? value : undefined;
}
