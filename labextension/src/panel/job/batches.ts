/** A job's batches in columns that grow: a hundred thousand of them cost a few megabytes. */

import type { IBatches } from '../../api/types';

/** How a batch is drawn. */
export enum Look {
  Done = 0,
  Failed = 1,
  /** Its worker went down, or its time was up. */
  Lost = 2,
  Cancelled = 3,
  /** Items that had been tried before. */
  Retry = 4,
  /** Items that were done before: a second copy, started in case the first would hang. */
  Backup = 5
}

const LOOKS: Readonly<Record<string, Look>> = {
  done: Look.Done,
  error: Look.Failed,
  lost: Look.Lost,
  timeout: Look.Lost,
  cancelled: Look.Cancelled
};

/** The largest item index of which it is remembered whether it was tried. */
const REMEMBERED = 10_000_000;

/** What one worker did, in the order in which it ended. */
export class Lane {
  constructor(readonly worker: string) {}

  /** Rows of the table. */
  readonly rows: number[] = [];
}

export class BatchTable {
  /** Batches. */
  length = 0;
  /** The `after` that asks for what comes next. */
  next = 0;
  /** Unix time of the earliest start and the latest end. */
  from = Number.POSITIVE_INFINITY;
  to = Number.NEGATIVE_INFINITY;
  readonly lanes: Lane[] = [];

  first = new Uint32Array(64);
  count = new Uint32Array(64);
  start = new Float64Array(64);
  end = new Float64Array(64);
  failed = new Uint32Array(64);
  memory = new Float64Array(64);
  cost = new Float64Array(64);
  look = new Uint8Array(64);
  lane = new Uint32Array(64);

  /** Add what is new; rows that are here already are passed over. */
  append(batches: IBatches): void {
    const { columns, statuses } = batches;
    const looks = statuses.map(status => LOOKS[status] ?? Look.Done);
    const lanes = batches.workers.map(worker => this._laneOf(worker));
    for (let i = 0; i < columns.row.length; i++) {
      if (at(columns.row, i) <= this.next) {
        continue;
      }
      if (this.length === this.start.length) {
        this._grow();
      }
      const row = this.length++;
      this.next = at(columns.row, i);
      const first = at(columns.first, i);
      const count = at(columns.count, i);
      this.first[row] = first;
      this.count[row] = count;
      this.start[row] = at(columns.start, i);
      this.end[row] = at(columns.end, i);
      this.failed[row] = at(columns.failed, i);
      this.memory[row] = at(columns.memory, i);
      this.cost[row] = at(columns.cost, i);
      const lane = lanes[at(columns.worker, i)] ?? 0;
      this.lane[row] = lane;
      this.lanes[lane]?.rows.push(row);
      this.from = Math.min(this.from, at(columns.start, i));
      this.to = Math.max(this.to, at(columns.end, i));
      this.look[row] = this._lookOf(
        looks[at(columns.status, i)] ?? Look.Done,
        first,
        count,
        at(columns.attempt, i)
      );
    }
    this.next = Math.max(this.next, batches.next);
  }

  private _laneOf(worker: string): number {
    let index = this._indexes.get(worker);
    if (index === undefined) {
      index = this.lanes.length;
      this._indexes.set(worker, index);
      this.lanes.push(new Lane(worker));
    }
    return index;
  }

  /** What items went through before tells a first try from a retry or a second copy. */
  private _lookOf(status: Look, first: number, count: number, attempt: number): Look {
    const end = Math.min(first + count, REMEMBERED);
    if (end > this._seen.length) {
      const larger = new Uint8Array(Math.min(REMEMBERED, Math.max(end, 2 * end)));
      larger.set(this._seen);
      this._seen = larger;
    }
    let before = 0;
    const now = status === Look.Done ? DONE : TRIED;
    for (let item = first; item < end; item++) {
      before = Math.max(before, this._seen[item] ?? 0);
      this._seen[item] = Math.max(this._seen[item] ?? 0, now);
    }
    if (status !== Look.Done) {
      return status;
    }
    if (before === DONE) {
      return Look.Backup;
    }
    return before === TRIED || attempt > 1 ? Look.Retry : Look.Done;
  }

  private _grow(): void {
    this.first = larger(this.first, Uint32Array);
    this.count = larger(this.count, Uint32Array);
    this.start = larger(this.start, Float64Array);
    this.end = larger(this.end, Float64Array);
    this.failed = larger(this.failed, Uint32Array);
    this.memory = larger(this.memory, Float64Array);
    this.cost = larger(this.cost, Float64Array);
    this.look = larger(this.look, Uint8Array);
    this.lane = larger(this.lane, Uint32Array);
  }

  private readonly _indexes = new Map<string, number>();
  private _seen = new Uint8Array(0);
}

const TRIED = 1;
const DONE = 2;

type Column = Uint8Array | Uint32Array | Float64Array;

function larger<T extends Column>(column: T, type: new (length: number) => T): T {
  const copy = new type(column.length * 2);
  copy.set(column);
  return copy;
}

/** Columns are equally long; what is missing would be a server's mistake. */
function at(column: readonly number[], index: number): number {
  return column[index] ?? 0;
}
