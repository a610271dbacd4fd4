/** The jobs as they are now: what the feed brought, kept by id and by cell. */

import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import type { Client } from '../api/client';
import type { Feed } from '../api/feed';
import { type IChange, type IJob, isActive } from '../api/types';
import type { IJobsModel } from '../tokens';

export class JobsModel implements IJobsModel, IDisposable {
  constructor(
    readonly client: Client,
    readonly feed: Feed
  ) {
    feed.received.connect(this._onReceived, this);
    feed.connectedChanged.connect(this._onConnectedChanged, this);
    // Once, to learn whether anything runs: a page may be opened in the middle of a job.
    this._first = feed.lease();
  }

  get changed(): ISignal<IJobsModel, ReadonlySet<string>> {
    return this._changed;
  }

  get active(): readonly IJob[] {
    return this._active;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  get(id: string): IJob | undefined {
    return this._jobs.get(id);
  }

  newestOfCell(notebook: string, cellId: string): IJob | undefined {
    const id = this._ofCell.get(cellKey(notebook, cellId));
    return id === undefined ? undefined : this._jobs.get(id);
  }

  follow(): IDisposable {
    return this.feed.lease();
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._first?.dispose();
    this._whileActive?.dispose();
    Signal.clearData(this);
  }

  private _onReceived(_: Feed, change: IChange): void {
    if (change.type !== 'jobs') {
      return;
    }
    const ids = new Set<string>();
    if (change.reset) {
      for (const id of this._jobs.keys()) {
        ids.add(id);
      }
      this._jobs.clear();
      this._ofCell.clear();
    }
    for (const job of change.jobs) {
      this._put(job);
      ids.add(job.id);
    }
    for (const id of change.removed) {
      this._remove(id);
      ids.add(id);
    }
    this._active = [...this._jobs.values()].filter(isActive);
    this._hold();
    if (ids.size > 0) {
      this._changed.emit(ids);
    }
  }

  private _onConnectedChanged(_: Feed, connected: boolean): void {
    if (!connected) {
      // A server without our extension refuses: nothing to ask again and again for.
      this._first?.dispose();
      this._first = null;
    }
  }

  private _put(job: IJob): void {
    this._jobs.set(job.id, job);
    if (job.notebook !== null && job.cell_id !== null) {
      const key = cellKey(job.notebook, job.cell_id);
      const known = this._jobs.get(this._ofCell.get(key) ?? '');
      if (known === undefined || known.created <= job.created) {
        this._ofCell.set(key, job.id);
      }
    }
  }

  private _remove(id: string): void {
    const job = this._jobs.get(id);
    this._jobs.delete(id);
    if (
      job?.notebook &&
      job.cell_id &&
      this.newestOfCell(job.notebook, job.cell_id) === undefined
    ) {
      this._ofCell.delete(cellKey(job.notebook, job.cell_id));
    }
  }

  /** Follow the feed as long as a job can change, in whichever process it runs. */
  private _hold(): void {
    if (this._active.length > 0) {
      this._whileActive ??= this.feed.lease();
    } else {
      this._whileActive?.dispose();
      this._whileActive = null;
    }
    this._first?.dispose();
    this._first = null;
  }

  private _active: readonly IJob[] = [];
  private readonly _changed = new Signal<IJobsModel, ReadonlySet<string>>(this);
  private _first: IDisposable | null;
  private _isDisposed = false;
  private readonly _jobs = new Map<string, IJob>();
  private readonly _ofCell = new Map<string, string>();
  private _whileActive: IDisposable | null = null;
}

function cellKey(notebook: string, cellId: string): string {
  return `${notebook}\0${cellId}`;
}
