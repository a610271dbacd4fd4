/** What jobs have cost: this month by backend, and day by day. */

import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import type { Client } from '../../api/client';
import type { ISpend } from '../../api/types';

/** Days of the bar chart. */
export const DAYS = 31;

export interface IDay {
  /** ISO, as in 2026-11-20. */
  readonly date: string;
  readonly spend: number;
  readonly jobs: number;
}

export class SpendModel implements IDisposable {
  constructor(private readonly _client: Client) {}

  get changed(): ISignal<SpendModel, void> {
    return this._changed;
  }

  /** Null until it was read. */
  get spend(): ISpend | null {
    return this._spend;
  }

  get problem(): string | null {
    return this._problem;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  async refresh(): Promise<void> {
    try {
      this._spend = await this._client.spend(DAYS);
      this._problem = null;
    } catch (error) {
      this._problem = error instanceof Error ? error.message : String(error);
    }
    this._changed.emit();
  }

  dispose(): void {
    this._isDisposed = true;
    Signal.clearData(this);
  }

  private readonly _changed = new Signal<SpendModel, void>(this);
  private _isDisposed = false;
  private _problem: string | null = null;
  private _spend: ISpend | null = null;
}

/** Each of the last days until `today`, those without a job too; without bills of emulated backends. */
export function daily(spend: ISpend, today: Date): readonly IDay[] {
  const sums = new Map<string, { spend: number; jobs: number }>();
  for (const { date, emulated, jobs, spend: dollars } of spend.days) {
    if (emulated) {
      continue;
    }
    const sum = sums.get(date) ?? { spend: 0, jobs: 0 };
    sums.set(date, { spend: sum.spend + dollars, jobs: sum.jobs + jobs });
  }
  return [...new Array(DAYS).keys()].map(i => {
    // At noon: a day more or less is a day also where clocks are changed.
    const day = new Date(
      today.getFullYear(),
      today.getMonth(),
      today.getDate() - (DAYS - 1 - i),
      12
    );
    const date = [day.getFullYear(), day.getMonth() + 1, day.getDate()]
      .map(part => `${part}`.padStart(2, '0'))
      .join('-');
    return { date, spend: 0, jobs: 0, ...sums.get(date) };
  });
}
