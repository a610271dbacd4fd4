/** One job opened: what is known of it, read in full once and then kept up to date. */

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
    private readonly _known: IJobsModel
  ) {
    this._feed = _known.feed;
    this._job = _known.get(id) ?? null;
    _known.changed.connect(this._onChanged, this);
    this._feed.received.connect(this._onReceived, this);
    this._feed.connectedChanged.connect(this._onConnected, this);
  }

  /** Emits when anything but the batches differs. */
  get changed(): ISignal<JobModel, void> {
    return this._changed;
  }

  /** Emits when there are more batches. */
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
      this._feed.watch(this.id);
      void this._catchUp();
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

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this.isVisible = false;
    this._isDisposed = true;
    Signal.clearData(this);
  }

  /** Read what happened while nobody looked. */
  private async _catchUp(): Promise<void> {
    const { client } = this._known;
    try {
      const details = await client.job(this.id);
      this._details = details;
      this._setJob(details);
      this._changed.emit();
      await Promise.all([this._readBatches(), this._readErrors(), this._readLog()]);
      this._problem = null;
    } catch (error) {
      this._problem = messageOf(error);
    }
    this._changed.emit();
  }

  /**
   * Read the batches page by page.
   *
   * What the feed brings meanwhile must wait: it comes after pages not read yet, and rows are only
   * appended. It is passed over and read with another page.
   */
  private async _readBatches(): Promise<void> {
    this._isReading = true;
    try {
      for (let more = true; more && this._isVisible; ) {
        this._passedOver = false;
        const page = await this._known.client.batches(this.id, this.batches.next);
        this.batches.append(page);
        this._batchesChanged.emit();
        more = page.more || this._passedOver;
      }
    } finally {
      this._isReading = false;
    }
  }

  private async _readErrors(): Promise<void> {
    this._errors = await this._known.client.errors(this.id);
  }

  private async _readLog(): Promise<void> {
    const last = this._log[this._log.length - 1];
    const { pieces } = await this._known.client.log(this.id, last?.id ?? 0);
    this._addToLog(pieces);
  }

  private _addToLog(pieces: readonly ILogPiece[]): void {
    const last = this._log[this._log.length - 1]?.id ?? 0;
    const fresh = pieces.filter(piece => piece.id > last);
    this._log = [...this._log, ...fresh].slice(-LOG_PIECES);
  }

  private _onChanged(_: IJobsModel, ids: ReadonlySet<string>): void {
    const job = ids.has(this.id) ? this._known.get(this.id) : undefined;
    if (job !== undefined) {
      this._setJob(job);
      this._changed.emit();
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
    if (this._isReading) {
      this._passedOver = true;
    } else if (change.batches !== null && change.batches.columns.row.length > 0) {
      this.batches.append(change.batches);
      this._batchesChanged.emit();
    }
    this._addToLog(change.log);
    if (change.errors_changed) {
      this._readErrors().then(
        () => this._changed.emit(),
        error => this._fail(error)
      );
    }
    this._changed.emit();
  }

  private _onConnected(_: Feed, connected: boolean): void {
    if (connected && this._isVisible && this._details !== null) {
      void this._catchUp(); // what came while the connection was broken
    }
  }

  /** Send a command and follow it until the job's kernel has taken it, or is silent for long. */
  private async _ask(send: () => Promise<{ command: number }>): Promise<void> {
    this._asked = 'sent';
    this._problem = null;
    this._changed.emit();
    try {
      const { command } = await send();
      const end = Date.now() + ASK_FOR;
      for (let taken = false; this._asked === 'sent' && !this._isDisposed; ) {
        await new Promise(resolve => setTimeout(resolve, ASK_EVERY));
        taken = (await this._known.client.command(command)).taken;
        if (taken || Date.now() > end) {
          this._asked = taken ? 'taken' : 'unanswered';
        }
      }
    } catch (error) {
      // The server takes back what nobody took; then there is no such command any more.
      const isTakenBack = error instanceof ApiError && error.status === 404;
      this._asked = isTakenBack ? 'unanswered' : null;
      this._problem = isTakenBack ? null : messageOf(error);
    }
    this._changed.emit();
  }

  private _fail(error: unknown): void {
    this._problem = messageOf(error);
    this._changed.emit();
  }

  private _asked: Asked = null;
  private readonly _batchesChanged = new Signal<JobModel, void>(this);
  private readonly _changed = new Signal<JobModel, void>(this);
  private _details: IJobDetails | null = null;
  private readonly _feed: Feed;
  private _errors: IErrors | null = null;
  private _isDisposed = false;
  private _isReading = false;
  private _isVisible = false;
  private _job: IJob | null;
  private _log: readonly ILogPiece[] = [];
  private _passedOver = false;
  private _problem: string | null = null;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
