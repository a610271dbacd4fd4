/** From batches to what is worth drawing: never more than a few rectangles for each pixel. */

import { type BatchTable, Look } from './batches';

/** Rectangles in columns: lane, left and right edge in pixels, look. */
export class Spans {
  length = 0;
  lane = new Uint32Array(256);
  left = new Float32Array(256);
  right = new Float32Array(256);
  look = new Uint8Array(256);

  push(lane: number, left: number, right: number, look: Look): void {
    if (this.length === this.lane.length) {
      this._grow();
    }
    const i = this.length++;
    this.lane[i] = lane;
    this.left[i] = left;
    this.right[i] = right;
    this.look[i] = look;
  }

  private _grow(): void {
    for (const key of ['lane', 'left', 'right', 'look'] as const) {
      const old = this[key];
      const type = old.constructor as new (length: number) => typeof old;
      const larger = new type(old.length * 2);
      larger.set(old);
      (this as Record<typeof key, typeof old>)[key] = larger;
    }
  }
}

const LOOKS = Look.Backup + 1;
/** Pixels between batches that are wide enough to be told apart. */
const GAP = 1;
const WIDE = 4;

/**
 * What is seen of the batches between two times on `width` pixels.
 *
 * Batches narrower than a pixel are drawn once for each pixel and look, so that neither a hundred
 * thousand of them cost more than a thousand, nor one failed among them is lost.
 */
export function visibleSpans(
  table: BatchTable,
  from: number,
  to: number,
  width: number
): Spans {
  const spans = new Spans();
  const scale = width / Math.max(to - from, 1e-9);
  const drawnTo = new Float64Array(LOOKS);
  table.lanes.forEach((lane, index) => {
    drawnTo.fill(Number.NEGATIVE_INFINITY);
    const { rows } = lane;
    for (let i = firstEndingAfter(table, rows, from); i < rows.length; i++) {
      const row = rows[i] as number;
      const start = table.start[row] as number;
      if (start > to) {
        break;
      }
      const look = table.look[row] as Look;
      const left = Math.max(0, (start - from) * scale);
      let right = Math.min(width, ((table.end[row] as number) - from) * scale);
      right -= right - left > WIDE ? GAP : 0;
      right = right - left < 1 ? Math.floor(left) + 1 : right;
      if (right > (drawnTo[look] as number)) {
        spans.push(index, left, right, look);
        drawnTo[look] = right;
      }
    }
  });
  return spans;
}

/** The batch that a worker ran at a moment, or -1. `slack` seconds help to hit narrow ones. */
export function batchAt(
  table: BatchTable,
  lane: number,
  time: number,
  slack: number
): number {
  const rows = table.lanes[lane]?.rows ?? [];
  let best = -1;
  let nearest = slack;
  for (
    let i = Math.max(0, firstEndingAfter(table, rows, time - slack));
    i < rows.length;
    i++
  ) {
    const row = rows[i] as number;
    const start = table.start[row] as number;
    if (start > time + slack) {
      break;
    }
    const distance = Math.max(0, start - time, time - (table.end[row] as number));
    if (distance <= nearest) {
      nearest = distance;
      best = row;
    }
  }
  return best;
}

/** A worker's batches end in the order of its rows, so halving finds the place. */
function firstEndingAfter(
  table: BatchTable,
  rows: readonly number[],
  time: number
): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((table.end[rows[middle] as number] as number) < time) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}
