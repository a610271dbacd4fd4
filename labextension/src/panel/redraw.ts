/** Gathers what asks to be drawn, so that it is drawn as often as the user wants and no more. */

import type { IDisposable } from '@lumino/disposable';

/** Milliseconds between two drawings, asked at each. */
export type Interval = () => number;

export class Redraw implements IDisposable {
  constructor(
    private readonly _draw: () => void,
    private readonly _interval: Interval
  ) {}

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Draw soon; what is asked until then is drawn with it. */
  request(): void {
    if (this._isDisposed) {
      return;
    }
    this._timer ??= window.setTimeout(() => {
      this._timer = undefined;
      this._draw();
    }, this._interval());
  }

  dispose(): void {
    this._isDisposed = true;
    window.clearTimeout(this._timer);
  }

  private _isDisposed = false;
  private _timer: number | undefined;
}
