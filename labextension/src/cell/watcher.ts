/** Knows of each cell of a notebook whether its button is on and how its job is; keeps it drawn. */

import type { Cell, CodeCell, ICellModel } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { IDisposable } from '@lumino/disposable';
import { Throttler } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';

import { type IJob, isActive } from '../api/types';
import type { IJobsModel } from '../tokens';
import { type Choice, choiceOf, describe, KEY } from './choice';
import { CellMark, type IShown } from './mark';
import type { ICellState } from './press';
import { progressOf } from './progress';

export interface IWatcherOptions {
  readonly jobs: IJobsModel | null;
  readonly trans: TranslationBundle;
  readonly showsBadge: () => boolean;
  /** Times a second that a badge is drawn at most. */
  readonly refreshRate: () => number;
}

export class NotebookWatcher implements IDisposable {
  constructor(
    readonly panel: NotebookPanel,
    private readonly _options: IWatcherOptions
  ) {
    this._throttler = this._newThrottler();
    panel.content.modelContentChanged.connect(this._onContentChanged, this);
    panel.content.activeCellChanged.connect(this._onActiveCellChanged, this);
    _options.jobs?.changed.connect(this._onJobsChanged, this);
    this._onContentChanged();
    // A model that is read from disk comes later than its panel.
    void panel.context.ready.then(() => this._onContentChanged());
  }

  /** Emits the ids of cells that show something else than before. */
  get changed(): ISignal<NotebookWatcher, ReadonlySet<string>> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  choice(cell: Cell): Choice {
    return choiceOf(cell.model.getMetadata(KEY));
  }

  job(cell: Cell): IJob | undefined {
    return this._options.jobs?.newestOfCell(this.panel.context.localPath, cell.model.id);
  }

  state(cell: Cell): ICellState {
    const job = this.job(cell);
    const active = job !== undefined && isActive(job);
    const model = cell.model as CodeCell['model'];
    return {
      on: this.choice(cell).on,
      running: active || model.executionState === 'running',
      cancellable: active && job.can_cancel
    };
  }

  /** What a cell shows now. */
  shown(cell: Cell): IShown {
    const { trans } = this._options;
    const choice = this.choice(cell);
    const progress = progressOf(this.job(cell), trans);
    const options = describe(choice, trans);
    const atRest = choice.on ? options : '';
    const shows = this._options.showsBadge();
    const title = options
      ? trans.__('Cloud Button is on: %1', options)
      : trans.__('Cloud Button is on');
    return {
      on: choice.on,
      badge: shows ? (progress?.text ?? atRest) : '',
      brief: shows ? (progress?.brief ?? atRest) : '',
      progress: shows ? progress : null,
      label: progress === null ? title : `${title} · ${progress.text}`
    };
  }

  /** Draw all cells again: a setting has changed. */
  refresh(): void {
    this._throttler.dispose();
    this._throttler = this._newThrottler();
    for (const cell of this.panel.content.widgets) {
      this._stale.add(cell.model.id);
    }
    this._flush();
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._throttler.dispose();
    for (const mark of this._marks.values()) {
      mark.dispose();
    }
    this._marks.clear();
    Signal.clearData(this);
  }

  private _newThrottler(): Throttler {
    const limit = 1000 / this._options.refreshRate();
    return new Throttler(() => this._flush(), { limit, edge: 'trailing' });
  }

  private _onContentChanged(): void {
    for (const cell of this.panel.content.widgets) {
      if (cell.model.type === 'code' && !this._marks.has(cell as CodeCell)) {
        this._add(cell as CodeCell);
      }
    }
  }

  private _add(cell: CodeCell): void {
    this._marks.set(cell, new CellMark(cell));
    cell.model.metadataChanged.connect(this._onMetadataChanged, this);
    cell.model.stateChanged.connect(this._onStateChanged, this);
    cell.disposed.connect(() => {
      this._marks.get(cell)?.dispose();
      this._marks.delete(cell);
    });
    const draw = () => this._draw(cell);
    draw();
    // Cells that are out of sight get their input area when they are scrolled to.
    void cell.ready.then(draw, () => undefined);
  }

  private _onMetadataChanged(model: ICellModel, change: { key: string }): void {
    if (change.key === KEY) {
      this._drawNow(model.id);
    }
  }

  private _onStateChanged(model: ICellModel, change: { name: string }): void {
    if (change.name === 'executionState' || change.name === 'executionCount') {
      this._drawNow(model.id);
    }
  }

  private _onActiveCellChanged(_: unknown, cell: Cell | null): void {
    if (cell !== null) {
      this._drawNow(cell.model.id);
    }
  }

  private _onJobsChanged(_: IJobsModel, ids: ReadonlySet<string>): void {
    const path = this.panel.context.localPath;
    for (const id of ids) {
      const job = this._options.jobs?.get(id);
      if (job?.cell_id && job.notebook === path) {
        this._stale.add(job.cell_id);
      }
    }
    if (this._stale.size > 0) {
      void this._throttler.invoke();
    }
  }

  private _drawNow(id: string): void {
    this._stale.add(id);
    this._flush();
  }

  private _flush(): void {
    if (this._isDisposed || this._stale.size === 0) {
      return;
    }
    const ids = new Set(this._stale);
    this._stale.clear();
    for (const cell of this._marks.keys()) {
      if (ids.has(cell.model?.id)) {
        this._draw(cell);
      }
    }
    this._changed.emit(ids);
  }

  private _draw(cell: CodeCell): void {
    if (!cell.isDisposed && cell.model !== null) {
      this._marks.get(cell)?.show(this.shown(cell));
    }
  }

  private readonly _changed = new Signal<this, ReadonlySet<string>>(this);
  private _isDisposed = false;
  private readonly _marks = new Map<CodeCell, CellMark>();
  private readonly _stale = new Set<string>();
  private _throttler: Throttler;
}
