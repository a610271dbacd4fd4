/** The connection that brings changes: open only while it is needed, resumed where it broke. */

import type { IDisposable } from '@lumino/disposable';
import { DisposableDelegate } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import type { Cursor, IChange } from './types';

/** Seconds before the first attempt to connect again; doubled with each failure. */
const FIRST_PAUSE = 1;
const LONGEST_PAUSE = 30;
/** Seconds the connection outlives the last one who needed it: cells follow each other. */
const LINGER = 2;

export interface IFeedOptions {
  /** Open a web socket of what changed since `cursor`. */
  readonly connect: (cursor: Cursor) => WebSocket;
  /** Whether the page is visible; checked again at each `visibilitychange`. */
  readonly isVisible?: () => boolean;
}

/** What is known of a job that is watched; what is newer is sent. */
export interface IWatch {
  readonly job: string;
  readonly batches_after: number;
  readonly log_after: number;
}

/**
 * Follows the server's changes.
 *
 * Code that needs them holds a lease; without one there is no connection. Nor is there one while the
 * browser's tab is hidden. The cursor is kept in between, so that what changed meanwhile comes first.
 */
export class Feed implements IDisposable {
  constructor(options: IFeedOptions) {
    this._connect = options.connect;
    this._isVisible = options.isVisible ?? (() => !document.hidden);
    document.addEventListener('visibilitychange', this._update);
  }

  get received(): ISignal<Feed, IChange> {
    return this._received;
  }

  /** Emits true when it is connected, false when a connection broke. */
  get connectedChanged(): ISignal<Feed, boolean> {
    return this._connectedChanged;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Keep the connection until the result is disposed. */
  lease(): IDisposable {
    this._leases += 1;
    this._update();
    return new DisposableDelegate(() => {
      this._leases -= 1;
      this._update();
    });
  }

  /**
   * Receive the batches and lines of one job too, in their order; null for none.
   *
   * @param known - asked again at each connection, so that nothing is missed and nothing comes twice
   */
  watch(known: (() => IWatch) | null): void {
    this._watched = known;
    this._sendWatched();
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    document.removeEventListener('visibilitychange', this._update);
    this._update();
    Signal.clearData(this);
  }

  private get _isWanted(): boolean {
    return !this._isDisposed && this._leases > 0 && this._isVisible();
  }

  /** Open or close, as it is needed now. */
  private readonly _update = (): void => {
    if (this._isWanted) {
      window.clearTimeout(this._closing);
      this._closing = undefined;
      if (this._socket === null && this._reopening === undefined) {
        this._open();
      }
    } else if (this._isDisposed || !this._isVisible()) {
      this._close();
    } else if (this._closing === undefined) {
      this._closing = window.setTimeout(() => this._close(), LINGER * 1000);
    }
  };

  private _open(): void {
    this._reopening = undefined;
    const socket = this._connect(this._cursor);
    this._socket = socket;
    socket.onmessage = event => {
      this._failures = 0;
      const change = JSON.parse(event.data) as IChange;
      if (change.type === 'jobs') {
        this._cursor = change.cursor;
      }
      this._received.emit(change);
    };
    socket.onopen = () => {
      if (this._watched !== null) {
        this._sendWatched();
      }
      this._connectedChanged.emit(true);
    };
    socket.onclose = () => {
      this._socket = null;
      this._connectedChanged.emit(false);
      if (this._isWanted) {
        this._reopening = window.setTimeout(() => this._reopen(), this._pause() * 1000);
      }
    };
  }

  private _reopen(): void {
    this._reopening = undefined;
    this._update();
  }

  private _close(): void {
    window.clearTimeout(this._closing);
    window.clearTimeout(this._reopening);
    this._closing = this._reopening = undefined;
    const socket = this._socket;
    if (socket !== null) {
      // It is we who end it, which is no failure.
      socket.onopen = socket.onclose = socket.onmessage = null;
      this._socket = null;
      socket.close();
    }
  }

  /** Seconds until the next attempt; spread, so that a restarted server is not stormed. */
  private _pause(): number {
    const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this._failures);
    this._failures += 1;
    return pause * (0.75 + Math.random() / 2);
  }

  private _sendWatched(): void {
    if (this._socket?.readyState === WebSocket.OPEN) {
      const known = this._watched?.() ?? { job: null };
      this._socket.send(JSON.stringify({ type: 'watch', ...known }));
    }
  }

  private readonly _connect: IFeedOptions['connect'];
  private readonly _isVisible: () => boolean;
  private readonly _received = new Signal<Feed, IChange>(this);
  private readonly _connectedChanged = new Signal<Feed, boolean>(this);
  private _closing: number | undefined;
  private _cursor: Cursor = null;
  private _failures = 0;
  private _isDisposed = false;
  private _leases = 0;
  private _reopening: number | undefined;
  private _socket: WebSocket | null = null;
  private _watched: (() => IWatch) | null = null;
}
