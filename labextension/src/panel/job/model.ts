/** One job opened: what is known of it, kept up to date by the feed. */

import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { ApiError } from '../../api/client';
import type { Feed } from '../../api/feed';
import {
  type IChange,
  type IErrors,
  type IJob,
  type IJobDetails,
  type ILogPiece,
  isActive
} from '../../api/types';
import type { IJobsModel } from '../../tokens';
import { type Interval, Redraw } from '../redraw';
import { BatchTable } from './batches';

/** Pieces of output that are kept: as many as the journal keeps. */
const LOG_PIECES = 1000;
/** Milliseconds between looks at whether a command was taken, and how long it is looked. */
const ASK_EVERY = 300;
const ASK_FOR = 10_000;

/** What became of a request to the job. */
export type Asked = 'sent' | 'taken' | 'unanswered' | null;

export class JobModel implements IDisposable {
  constructor(
    readonly id: string,
    private readonly _known: IJobsModel,
    interval: Interval
  ) {
    this._redraw = new Redraw(() => this._changed.emit(), interval);
    this._redrawBatches = new Redraw(() => this._batchesChanged.emit(), interval);
    this._feed = _known.feed;
    this._job = _known.get(id) ?? null;
    _known.changed.connect(this._onChanged, this);
    this._feed.received.connect(this._onReceived, this);
  }

  /** Emits when anything but the batches differs. */
  get changed(): ISignal<JobModel, void> {
    return this._changed;
  }

  /** Emits when there are more batches: seldom enough to draw figures of all of them. */
  get batchesChanged(): ISignal<JobModel, void> {
    return this._batchesChanged;
  }

  /** As it is now; null until it is known. */
  get job(): IJob | null {
    return this._job;
  }

  /** What does not change while it runs: source, options, what was captured. */
  get details(): IJobDetails | null {
    return this._details;
  }

  readonly batches = new BatchTable();

  get errors(): IErrors | null {
    return this._errors;
  }

  get log(): readonly ILogPiece[] {
    return this._log;
  }

  /** Why it could not be read, or what a request was refused with. */
  get problem(): string | null {
    return this._problem;
  }

  /** What became of the latest Cancel or Retry. */
  get asked(): Asked {
    return this._asked;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  set isVisible(visible: boolean) {
    if (visible === this._isVisible) {
      return;
    }
    this._isVisible = visible;
    if (visible) {
      void this._read();
    } else {
      this._feed.watch(null);
    }
  }

  cancel(): Promise<void> {
    return this._ask(() => this._known.client.cancel(this.id));
  }

  retry(): Promise<void> {
    return this._ask(() => this._known.client.retry(this.id));
  }

  /** An HTML file about the job; null if the server has none, which `problem` tells. */
  async report(): Promise<Blob | null> {
    try {
      return await this._known.client.report(this.id);
    } catch (error) {
      this._problem = messageOf(error);
      this._changed.emit();
      return null;
    }
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this.isVisible = false;
    this._isDisposed = true;
    this._redraw.dispose();
    this._redrawBatches.dispose();
    Signal.clearData(this);
  }

  /** Read what there is, in large pages, and let the feed tell from then on. */
  private async _read(): Promise<void> {
    const { client } = this._known;
    try {
      const before = this._known.get(this.id);
      const details = await client.job(this.id);
      const since = this._known.get(this.id);
      this._details = details;
      // The answer may be older than what the feed brought while it was on its way.
      this._setJob(since === undefined || since === before ? details : since);
      this._problem = null;
      this._changed.emit();
      for (let more = true; more && this._isVisible; ) {
        const page = await client.batches(this.id, this.batches.next);
        this.batches.append(page);
        this._redrawBatches.request();
        more = page.more;
      }
    } catch (error) {
      this._problem = messageOf(error);
      this._changed.emit();
    }
    if (this._isVisible) {
      this._feed.watch(() => ({
        job: this.id,
        batches_after: this.batches.next,
        log_after: this._log[this._log.length - 1]?.id ?? 0
      }));
    }
  }

  private async _readErrors(): Promise<void> {
    try {
      this._errors = await this._known.client.errors(this.id);
    } catch (error) {
      this._problem = messageOf(error);
    }
    this._changed.emit();
  }

  private _onChanged(_: IJobsModel, ids: ReadonlySet<string>): void {
    const job = ids.has(this.id) ? this._known.get(this.id) : undefined;
    if (job !== undefined) {
      this._setJob(job);
      this._redraw.request();
    }
  }

  private _setJob(job: IJob): void {
    if (this._job !== null && isActive(this._job) !== isActive(job)) {
      this._asked = null; // it ended, or runs again: that is the answer
    }
    this._job = job;
  }

  private _onReceived(_: Feed, change: IChange): void {
    if (change.type !== 'job' || change.id !== this.id) {
      return;
    }
    if (change.batches.columns.row.length > 0) {
      this.batches.append(change.batches);
      this._redrawBatches.request();
    }
    const { pieces } = change.log;
    if (pieces.length > 0) {
      this._log = [...this._log, ...pieces].slice(-LOG_PIECES);
      this._redraw.request();
    }
    if (change.errors_changed) {
      void this._readErrors();
    }
  }

  /** Send a command and follow it until the job's kernel has taken it, or is silent for long. */
  private async _ask(send: () => Promise<{ command: number }>): Promise<void> {
    this._asked = 'sent';
    this._problem = null;
    this._changed.emit();
    try {
      this._asked = await this._answerTo((await send()).command);
    } catch (error) {
      this._asked = null;
      this._problem = messageOf(error);
    }
    this._changed.emit();
  }

  private async _answerTo(command: number): Promise<Asked> {
    const end = Date.now() + ASK_FOR;
    while (this._asked === 'sent' && !this._isDisposed && Date.now() < end) {
      await new Promise(resolve => setTimeout(resolve, ASK_EVERY));
      try {
        if ((await this._known.client.command(command)).taken) {
          return 'taken';
        }
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) {
          break; // it was not taken, and the server has withdrawn it
        }
        throw error;
      }
    }
    return this._asked === 'sent' ? 'unanswered' : this._asked;
  }

  private _asked: Asked = null;
  private readonly _batchesChanged = new Signal<JobModel, void>(this);
  private readonly _changed = new Signal<JobModel, void>(this);
  private _details: IJobDetails | null = null;
  private readonly _feed: Feed;
  private _errors: IErrors | null = null;
  private _isDisposed = false;
  private _isVisible = false;
  private _job: IJob | null;
  private _log: readonly ILogPiece[] = [];
  private _problem: string | null = null;
  private readonly _redraw: Redraw;
  private readonly _redrawBatches: Redraw;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
