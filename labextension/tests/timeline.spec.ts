import { describe, expect, it } from 'vitest';

import { BatchTable, Look } from '../src/panel/job/batches';
import { durations, memory } from '../src/panel/job/figures';
import { batchAt, visibleSpans } from '../src/panel/job/timeline';
import { batches } from './make';

function table(...pages: ReturnType<typeof batches>[]): BatchTable {
  const made = new BatchTable();
  for (const page of pages) {
    made.append(page);
  }
  return made;
}

/** `count` batches of 10 ms, one after the other, on each of `workers`. */
function long(count: number, workers: number): BatchTable {
  return table(
    batches(
      [...new Array(count * workers).keys()].map(i => ({
        worker: `w${i % workers}`,
        first: i,
        start: Math.floor(i / workers) * 0.01,
        end: Math.floor(i / workers) * 0.01 + 0.009
      }))
    )
  );
}

describe('the table of batches', () => {
  it('passes over rows that it has', () => {
    const page = batches([{ first: 0, start: 0, end: 1 }]);
    expect(table(page, page).length).toBe(1);
  });

  it('knows workers by name, whatever their number in a page', () => {
    const made = table(
      batches([{ worker: 'a', first: 0, start: 0, end: 1 }]),
      batches(
        [
          { worker: 'b', first: 1, start: 0, end: 1 },
          { worker: 'a', first: 2, start: 1, end: 2 }
        ],
        2
      )
    );
    expect(made.lanes.map(lane => [lane.worker, lane.rows])).toEqual([
      ['a', [0, 2]],
      ['b', [1]]
    ]);
  });

  it.each([
    ['items that failed before', 'error', Look.Retry],
    ['items whose worker died', 'lost', Look.Retry],
    ['items whose time was up', 'timeout', Look.Retry],
    ['items that are done already', 'done', Look.Backup]
  ])('tells a first try from %s', (_, status, look) => {
    const made = table(
      batches([
        { first: 0, count: 10, start: 0, end: 1, status },
        { worker: 'w2', first: 4, start: 0, end: 2 },
        { worker: 'w2', first: 40, start: 2, end: 3 }
      ])
    );
    expect([...made.look.slice(1, 3)]).toEqual([look, Look.Done]);
  });
});

describe('the timeline', () => {
  it('draws a hundred thousand batches with a few rectangles for each pixel', () => {
    const spans = visibleSpans(long(12_500, 8), 0, 125, 300);
    expect(spans.length).toBeLessThanOrEqual(300 * 8);
    expect(spans.length).toBeGreaterThan(290 * 8);
  });

  it('shows one failed batch among a hundred thousand', () => {
    const made = long(100_000, 1);
    made.look[54_321] = Look.Failed;
    const spans = visibleSpans(made, 0, 1000, 300);
    const looks = [...spans.look.slice(0, spans.length)];
    expect(looks.filter(look => look === Look.Failed)).toHaveLength(1);
  });

  it('draws what is in view, and cuts it at the edges', () => {
    const spans = visibleSpans(long(100, 1), 0.205, 0.305, 1000);
    expect(spans.length).toBe(11);
    expect(spans.left[0]).toBe(0);
    expect(spans.right[spans.length - 1]).toBeLessThanOrEqual(1000);
  });

  it('finds the batch under the mouse, also beside a narrow one', () => {
    const made = table(
      batches([
        { first: 0, start: 0, end: 1 },
        { first: 1, start: 5, end: 5 }
      ])
    );
    expect(batchAt(made, 0, 0.5, 0.1)).toBe(0);
    expect(batchAt(made, 0, 4.95, 0.1)).toBe(1);
    expect(batchAt(made, 0, 3, 0.1)).toBe(-1);
    expect(batchAt(made, 7, 0.5, 0.1)).toBe(-1);
  });
});

describe('figures', () => {
  it('count items, not batches', () => {
    const figure = durations(
      table(
        batches([
          { first: 0, count: 99, start: 0, end: 0.99 },
          { first: 99, count: 1, start: 1, end: 2 }
        ])
      )
    );
    expect(figure?.counts.reduce((sum, count) => sum + count)).toBe(100);
    expect(figure?.median).toBeCloseTo(0.01);
    expect(figure?.longest).toBeCloseTo(1);
  });

  it('leave out batches that did not run to their end', () => {
    expect(
      durations(table(batches([{ first: 0, start: 1, end: 1, status: 'lost' }])))
    ).toBeNull();
  });

  it('show the highest memory of a moment', () => {
    const figure = memory(
      table(
        batches([
          { worker: 'a', first: 0, start: 0, end: 1, memory: 100 },
          { worker: 'b', first: 1, start: 0, end: 1, memory: 300 },
          { worker: 'a', first: 2, start: 1, end: 10, memory: 200 }
        ])
      ),
      10
    );
    expect(figure).toMatchObject({ highest: 300, worker: 'b' });
    expect([figure?.peaks[1], figure?.peaks[9]]).toEqual([300, 200]);
  });
});
