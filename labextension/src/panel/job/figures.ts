/** Figures drawn from a job's batches: how long items took, and how much memory workers had. */

import { type BatchTable, Look } from './batches';

export interface IHistogram {
  /** One more than there are bars. */
  readonly edges: readonly number[];
  readonly counts: readonly number[];
  readonly median: number;
  readonly p95: number;
  readonly longest: number;
}

const BARS = 24;
/** Durations that span more than this ratio are counted on a logarithmic scale. */
const WIDE = 30;
/** Batches in a histogram: of more, every second, third … is taken. */
const SAMPLE = 20_000;
/** What a clock can tell apart; the logarithm needs a start. */
const SHORTEST = 1e-6;

/** How long items took: each counts with the mean of its batch. Null before the first. */
export function durations(table: BatchTable): IHistogram | null {
  const values: number[] = [];
  const weights: number[] = [];
  const stride = Math.ceil(table.length / SAMPLE);
  for (let row = 0; row < table.length; row += stride) {
    if (table.look[row] === Look.Lost || table.look[row] === Look.Cancelled) {
      continue; // not all of it ran
    }
    const count = table.count[row] as number;
    const seconds = ((table.end[row] as number) - (table.start[row] as number)) / count;
    values.push(Math.max(SHORTEST, seconds));
    weights.push(count);
  }
  if (values.length === 0) {
    return null;
  }
  const order = Uint32Array.from(values.keys()).sort(
    (a, b) => (values[a] as number) - (values[b] as number)
  );
  const shortest = values[order[0] as number] as number;
  const longest = values[order[order.length - 1] as number] as number;
  const edges = edgesBetween(shortest, longest);
  const counts = new Array<number>(BARS).fill(0);
  let bar = 0;
  for (const i of order) {
    const value = values[i] as number;
    while (bar < BARS - 1 && value >= (edges[bar + 1] as number)) {
      bar += 1;
    }
    counts[bar] = (counts[bar] as number) + (weights[i] as number);
  }
  return {
    edges,
    counts,
    median: quantile(values, weights, order, 0.5),
    p95: quantile(values, weights, order, 0.95),
    longest
  };
}

function edgesBetween(low: number, high: number): number[] {
  const steps = [...new Array(BARS + 1).keys()];
  if (high / low > WIDE) {
    return steps.map(i => low * (high / low) ** (i / BARS));
  }
  // Equal durations get one bar in the middle of a little room.
  const room = Math.max(high - low, low * 0.1);
  const start = Math.max(0, (low + high - room) / 2);
  return steps.map(i => start + (room * i) / BARS);
}

function quantile(
  values: readonly number[],
  weights: readonly number[],
  order: Uint32Array,
  part: number
): number {
  let left = weights.reduce((sum, weight) => sum + weight, 0) * part;
  for (const i of order) {
    left -= weights[i] as number;
    if (left <= 0) {
      return values[i] as number;
    }
  }
  return values[order[order.length - 1] as number] as number;
}

export interface IMemory {
  /** The highest of all workers' peaks, in equal steps of time; NaN where no batch ended. */
  readonly peaks: Float64Array;
  readonly highest: number;
  /** Who had it. */
  readonly worker: string;
}

/** Workers' memory over time. Null where it was not measured. */
export function memory(table: BatchTable, steps: number): IMemory | null {
  const peaks = new Float64Array(steps).fill(Number.NaN);
  const span = Math.max(table.to - table.from, 1e-9);
  let highest = 0;
  let lane = 0;
  for (let row = 0; row < table.length; row++) {
    const bytes = table.memory[row] as number;
    if (bytes <= 0) {
      continue;
    }
    const ended = ((table.end[row] as number) - table.from) / span;
    const step = Math.min(steps - 1, Math.floor(ended * steps));
    const peak = peaks[step] as number;
    peaks[step] = peak > bytes ? peak : bytes;
    if (bytes > highest) {
      highest = bytes;
      lane = table.lane[row] as number;
    }
  }
  if (highest === 0) {
    return null;
  }
  return { peaks, highest, worker: table.lanes[lane]?.worker ?? '' };
}

/** How many batches have each look, where any has. */
export function looks(table: BatchTable): ReadonlyMap<Look, number> {
  const counts = new Map<Look, number>();
  for (let row = 0; row < table.length; row++) {
    const look = table.look[row] as Look;
    counts.set(look, (counts.get(look) ?? 0) + 1);
  }
  return counts;
}
