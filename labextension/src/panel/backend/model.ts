/** The backends: which one is in use, how it is, what it is set to, whether it works. */

import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { ApiError, type Client } from '../../api/client';
import type { IBackend, IHealth, ITrial } from '../../api/types';

type Values = Readonly<Record<string, unknown>>;

/** What goes on for the backend that is shown. */
export type Task = 'test' | 'save' | 'use' | null;

export class BackendModel implements IDisposable {
  constructor(private readonly _client: Client) {}

  get changed(): ISignal<BackendModel, void> {
    return this._changed;
  }

  get backends(): readonly IBackend[] {
    return this._backends;
  }

  /** The one that is shown. */
  get shown(): IBackend | null {
    return this._backends.find(({ name }) => name === this._shown) ?? null;
  }

  /** Null until it is known. */
  get health(): IHealth | null {
    return this._health;
  }

  /** Why it could not be found out, or null. */
  get healthProblem(): string | null {
    return this._healthProblem;
  }

  /** How the latest test went. */
  get trial(): ITrial | null {
    return this._trial;
  }

  /** Settings as they stand in the form. */
  get edited(): Values {
    return this._edited;
  }

  /** Settings of the form that are not written yet. */
  get unsaved(): Values {
    const { settings = {} } = this.shown ?? {};
    const names = new Set([...Object.keys(settings), ...Object.keys(this._edited)]);
    return Object.fromEntries(
      [...names]
        .filter(name => !isSame(this._edited[name], settings[name]))
        .map(name => [name, this._edited[name] ?? null])
    );
  }

  /** What the server says is wrong with which setting. */
  get problems(): Readonly<Record<string, string>> {
    return this._problems;
  }

  get problem(): string | null {
    return this._problem;
  }

  get task(): Task {
    return this._task;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Read what is in force; edits that are not saved stay. */
  async refresh(): Promise<void> {
    await this._try(async () => {
      const edits = this.unsaved;
      this._backends = await this._client.backends();
      const inUse = this._backends.find(backend => backend.in_use);
      if (this.shown === null) {
        this._shown = inUse?.name ?? this._backends[0]?.name ?? null;
      }
      this._edited = { ...this.shown?.settings, ...edits };
    });
    await this._readHealth();
  }

  async show(name: string): Promise<void> {
    if (name === this._shown) {
      return;
    }
    this._shown = name;
    this._edited = this.shown?.settings ?? {};
    this._trial = null;
    this._problems = {};
    this._problem = null;
    await this._readHealth();
  }

  edit(values: Values): void {
    this._edited = values;
    this._changed.emit();
  }

  revert(): void {
    this._problems = {};
    this.edit(this.shown?.settings ?? {});
  }

  /** Write what was edited, as settings of this backend: `lambda.region`. */
  save(): Promise<void> {
    return this._do('save', name =>
      this._write(mapKeys(this.unsaved, key => `${name}.${key}`))
    );
  }

  /** Make it the one that jobs run on where nothing else is said. */
  use(): Promise<void> {
    return this._do('use', () => this._write({ backend: this._shown }));
  }

  /** Run two items there. */
  test(): Promise<void> {
    return this._do('test', async name => {
      this._trial = null;
      const trial = await this._client.test(name);
      if (name === this._shown) {
        this._trial = trial;
      }
    });
  }

  dispose(): void {
    this._isDisposed = true;
    Signal.clearData(this);
  }

  private async _write(values: Values): Promise<void> {
    this._problems = {};
    this._trial = null; // it was of other settings
    await this._client.write(values);
    this._backends = await this._client.backends();
    this._edited = this.shown?.settings ?? {};
  }

  private async _readHealth(): Promise<void> {
    const name = this._shown;
    const look = ++this._looks;
    this._health = null;
    this._healthProblem = null;
    this._changed.emit();
    if (name === null) {
      return;
    }
    const answer = await this._client.health(name).then(
      health => ({ health, problem: null }),
      error => ({ health: null, problem: messageOf(error) })
    );
    if (look !== this._looks) {
      return; // of another backend, or of what was set before
    }
    this._health = answer.health;
    this._healthProblem = answer.problem;
    this._changed.emit();
  }

  private async _do(task: Task, act: (name: string) => Promise<void>): Promise<void> {
    const name = this._shown;
    if (name === null || this._task !== null) {
      return;
    }
    this._task = task;
    this._problem = null;
    this._changed.emit();
    await this._try(() => act(name));
    this._task = null;
    await this._readHealth(); // saving may have repaired it, a test may have begun what it names
  }

  private async _try(act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      const problems = error instanceof ApiError ? error.problems : {};
      this._problems = mapKeys(problems, key => key.slice(key.indexOf('.') + 1));
      // What is said beside a field need not be said above all.
      const fields = Object.keys(this._problems);
      const isShown = fields.length > 0 && fields.every(name => name in this._edited);
      this._problem = isShown ? null : messageOf(error);
    }
    this._changed.emit();
  }

  private _backends: readonly IBackend[] = [];
  private readonly _changed = new Signal<BackendModel, void>(this);
  private _edited: Values = {};
  private _health: IHealth | null = null;
  private _healthProblem: string | null = null;
  private _isDisposed = false;
  private _looks = 0;
  private _problem: string | null = null;
  private _problems: Readonly<Record<string, string>> = {};
  private _shown: string | null = null;
  private _task: Task = null;
  private _trial: ITrial | null = null;
}

function mapKeys<Value>(
  values: Readonly<Record<string, Value>>,
  name: (key: string) => string
): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(values).map(([key, value]) => [name(key), value])
  );
}

/** Whether two settings are the same; an empty field is one that is not set. */
function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
