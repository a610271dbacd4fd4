/** The timeline on a canvas: uPlot has the axes, the zoom and the cursor; we draw the batches. */

import uPlot from 'uplot';

import type { BatchTable } from './batches';
import { Look } from './batches';
import { batchAt, visibleSpans } from './timeline';

/** Pixels of a worker's lane, as far as there is room for all. */
const LANE = 14;
const LEAST = 48;
const MOST = 320;
/** Pixels from a batch at which the mouse still means it. */
const SLACK = 3;
const AXIS = 26;

/** The variable of JupyterLab's theme that each look is painted with. */
export const COLOURS: Readonly<Record<Look, string>> = {
  [Look.Done]: '--jp-brand-color1',
  [Look.Failed]: '--jp-error-color1',
  [Look.Lost]: '--jp-error-color1',
  [Look.Cancelled]: '--jp-layout-color4',
  [Look.Retry]: '--jp-warn-color1',
  [Look.Backup]: '--jp-accent-color1'
};

export interface IChartOptions {
  readonly table: BatchTable;
  /** Seconds as text, for an axis with a label every `step` seconds. */
  readonly seconds: (seconds: number, step: number) => string;
  /** Called with the row under the mouse, or -1. */
  readonly onPoint: (row: number) => void;
  /** Called when the part of time that is shown differs. */
  readonly onZoom: (zoomed: boolean) => void;
}

export class TimelineChart {
  constructor(
    private readonly _host: HTMLElement,
    private readonly _options: IChartOptions
  ) {
    const text = () => this._colour('--jp-ui-font-color2');
    const line = () => this._colour('--jp-border-color2');
    const font =
      getComputedStyle(_host).getPropertyValue('--jp-ui-font-family') || 'sans-serif';
    this._plot = new uPlot(
      {
        width: Math.max(_host.clientWidth, LEAST),
        height: this._height,
        padding: [0, 8, 0, 8],
        legend: { show: false },
        cursor: { y: false, points: { show: false }, drag: { x: true, y: false } },
        scales: {
          x: { time: false, range: (_, low, high) => [low, high] },
          y: { range: () => [0, 1] }
        },
        axes: [
          {
            stroke: text,
            font: `11px ${font}`,
            size: AXIS,
            space: 60,
            grid: { stroke: line, width: 1 },
            ticks: { stroke: line, width: 1, size: 4 },
            values: (_, splits, _axis, _space, step) =>
              splits.map(at => (at === 0 ? '0' : _options.seconds(at, step)))
          },
          { show: false }
        ],
        series: [{}, { paths: () => null, points: { show: false } }],
        hooks: {
          draw: [() => this._draw()],
          setCursor: [() => this._point()],
          setScale: [(_, key) => key === 'x' && this._noteZoom()]
        }
      },
      [
        [0, this._span],
        [0, 0]
      ],
      _host
    );
    this._observer = new ResizeObserver(() => this._resize());
    this._observer.observe(_host);
  }

  /** Draw at the next frame, however often this is called until then. */
  update(): void {
    this._frame ??= requestAnimationFrame(() => {
      this._frame = undefined;
      const zoomed = this._zoom;
      this._plot.setData(
        [
          [0, this._span],
          [0, 0]
        ],
        false
      );
      this._resize();
      const [min, max] = zoomed ?? [0, this._span];
      this._plot.setScale('x', { min, max });
    });
  }

  /** Show a part: `by` times as much time, moved by a fraction of it. */
  zoom(by: number, moved = 0): void {
    const { min = 0, max = this._span } = this._plot.scales.x ?? {};
    const width = Math.min(this._span, ((max ?? 0) - (min ?? 0)) * by);
    const middle = ((min ?? 0) + (max ?? 0)) / 2 + moved * width;
    const start = Math.min(Math.max(0, middle - width / 2), this._span - width);
    this._plot.setScale('x', { min: start, max: start + width });
  }

  /** Show all. */
  reset(): void {
    this._plot.setScale('x', { min: 0, max: this._span });
  }

  dispose(): void {
    if (this._frame !== undefined) {
      cancelAnimationFrame(this._frame);
    }
    this._observer.disconnect();
    this._plot.destroy();
  }

  private get _span(): number {
    const { from, to } = this._options.table;
    return to > from ? to - from : 1;
  }

  private get _height(): number {
    const lanes = this._options.table.lanes.length * LANE;
    return Math.min(MOST, Math.max(LEAST, lanes)) + AXIS;
  }

  private _resize(): void {
    const width = this._host.clientWidth;
    const height = this._height;
    if (width > 0 && (width !== this._plot.width || height !== this._plot.height)) {
      this._plot.setSize({ width, height });
    }
  }

  private _noteZoom(): void {
    const { min, max } = this._plot.scales.x ?? {};
    const all = this._span * 1e-6;
    const isAll = (min ?? 0) <= all && (max ?? this._span) >= this._span - all;
    this._zoom = isAll ? null : [min ?? 0, max ?? this._span];
    this._options.onZoom(!isAll);
  }

  private _draw(): void {
    const { ctx, bbox, scales } = this._plot;
    const { table } = this._options;
    if (table.length === 0) {
      return;
    }
    const from = table.from + (scales.x?.min ?? 0);
    const to = table.from + (scales.x?.max ?? this._span);
    const spans = visibleSpans(table, from, to, bbox.width);
    const lane = bbox.height / table.lanes.length;
    const height = Math.max(1, lane > 4 ? lane - 2 * devicePixelRatio : lane);
    // One path for each look: a hundred thousand rectangles are filled at once.
    const paths = new Map<Look, Path2D>();
    for (let i = 0; i < spans.length; i++) {
      const look = spans.look[i] as Look;
      let path = paths.get(look);
      if (path === undefined) {
        path = new Path2D();
        paths.set(look, path);
      }
      const left = spans.left[i] as number;
      const top = bbox.top + (spans.lane[i] as number) * lane + (lane - height) / 2;
      path.rect(bbox.left + left, top, (spans.right[i] as number) - left, height);
    }
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    // What is rare is painted last, over what is common.
    for (const [look, path] of [...paths].sort(([a], [b]) => RANK[a] - RANK[b])) {
      ctx.fillStyle = this._colour(COLOURS[look]);
      ctx.fill(path);
    }
    ctx.restore();
  }

  private _point(): void {
    const { left, top } = this._plot.cursor;
    const { table } = this._options;
    if (left === undefined || top === undefined || left < 0 || top < 0) {
      this._options.onPoint(-1);
      return;
    }
    const height = this._plot.bbox.height / devicePixelRatio;
    const lane = Math.floor((top / height) * table.lanes.length);
    const time = table.from + this._plot.posToVal(left, 'x');
    const slack = this._plot.posToVal(SLACK, 'x') - this._plot.posToVal(0, 'x');
    this._options.onPoint(batchAt(table, lane, time, slack));
  }

  private _colour(variable: string): string {
    return getComputedStyle(this._host).getPropertyValue(variable).trim();
  }

  private _frame: number | undefined;
  private readonly _observer: ResizeObserver;
  private readonly _plot: uPlot;
  private _zoom: readonly [number, number] | null = null;
}

/** The order in which looks are painted. */
const RANK: Readonly<Record<Look, number>> = {
  [Look.Done]: 0,
  [Look.Cancelled]: 1,
  [Look.Backup]: 2,
  [Look.Retry]: 3,
  [Look.Failed]: 4,
  [Look.Lost]: 5
};
