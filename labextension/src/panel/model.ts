/** What the panel shows: which tab, which job, and only while it can be seen. */

import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import type { IJobsModel } from '../tokens';
import { BackendModel } from './backend/model';
import { JobModel } from './job/model';
import { JobListModel } from './jobs/model';
import { SpendModel } from './spend/model';

export type Tab = 'jobs' | 'backend' | 'spend';

export class PanelModel implements IDisposable {
  constructor(readonly known: IJobsModel) {
    this.jobs = new JobListModel(known, this._interval);
    this.backend = new BackendModel(known.client);
    this.spend = new SpendModel(known.client);
  }

  /** How many times a second what changes by itself is drawn, at most. */
  refreshRate = 4;

  readonly jobs: JobListModel;
  readonly backend: BackendModel;
  readonly spend: SpendModel;

  /** Emits when another tab or job is shown, or the panel comes and goes. */
  get changed(): ISignal<PanelModel, void> {
    return this._changed;
  }

  get tab(): Tab {
    return this._tab;
  }

  /** The job that is open, or null. */
  get job(): JobModel | null {
    return this._job;
  }

  get isVisible(): boolean {
    return this._isVisible;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  set isVisible(visible: boolean) {
    if (visible !== this._isVisible) {
      this._isVisible = visible;
      this._update();
    }
  }

  setTab(tab: Tab): void {
    this._tab = tab;
    this._update();
  }

  openJob(id: string): void {
    this._tab = 'jobs';
    if (this._job?.id !== id) {
      this._job?.dispose();
      this._job = new JobModel(id, this.known, this._interval);
    }
    this._update();
  }

  closeJob(): void {
    this._job?.dispose();
    this._job = null;
    this._update();
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this.isVisible = false;
    this._isDisposed = true;
    this._job?.dispose();
    for (const model of [this.jobs, this.backend, this.spend]) {
      model.dispose();
    }
    Signal.clearData(this);
  }

  /** Let work what is seen, and nothing else. */
  private _update(): void {
    const seen = this._isVisible ? this._tab : null;
    if (seen === 'jobs') {
      this._following ??= this.known.follow();
    } else {
      this._following?.dispose();
      this._following = null;
    }
    this.jobs.isVisible = seen === 'jobs' && this._job === null;
    if (this._job !== null) {
      this._job.isVisible = seen === 'jobs';
    }
    if (seen === 'backend' && this._refreshed !== seen) {
      void this.backend.refresh();
    }
    if (seen === 'spend' && this._refreshed !== seen) {
      void this.spend.refresh();
    }
    this._refreshed = seen;
    this._changed.emit();
  }

  private readonly _interval = () => 1000 / this.refreshRate;
  private readonly _changed = new Signal<PanelModel, void>(this);
  private _following: IDisposable | null = null;
  private _isDisposed = false;
  private _isVisible = false;
  private _job: JobModel | null = null;
  private _refreshed: Tab | null = null;
  private _tab: Tab = 'jobs';
}
