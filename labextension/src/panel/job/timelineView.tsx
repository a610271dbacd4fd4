/** The timeline with its legend, its zoom and what the mouse points at. */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import * as format from '../../format';
import { Action } from '../parts';
import { Look } from './batches';
import { TimelineChart } from './chart';
import { looks } from './figures';
import type { JobModel } from './model';

interface ITimelineProps {
  model: JobModel;
  trans: TranslationBundle;
}

const LEGEND: readonly Look[] = [
  Look.Done,
  Look.Failed,
  Look.Retry,
  Look.Backup,
  Look.Lost,
  Look.Cancelled
];

/** What each key does to the part of time that is shown: how much more of it, and where. */
const KEYS: Readonly<Record<string, readonly [number, number]>> = {
  '+': [0.5, 0],
  '=': [0.5, 0],
  '-': [2, 0],
  ArrowLeft: [1, -0.25],
  ArrowRight: [1, 0.25]
};

export function Timeline({ model, trans }: ITimelineProps): JSX.Element {
  const host = React.useRef<HTMLDivElement>(null);
  const chart = React.useRef<TimelineChart | null>(null);
  const [pointed, setPointed] = React.useState(-1);
  const [zoomed, setZoomed] = React.useState(false);
  const table = model.batches;

  React.useEffect(() => {
    if (host.current === null) {
      return;
    }
    const drawn = new TimelineChart(host.current, {
      table,
      seconds: (seconds, step) => format.tick(seconds, step, trans),
      onPoint: setPointed,
      onZoom: setZoomed
    });
    chart.current = drawn;
    const update = () => drawn.update();
    model.batchesChanged.connect(update);
    // Another theme has other colours.
    const themes = new MutationObserver(update);
    themes.observe(document.body, { attributeFilter: ['data-jp-theme-name'] });
    return () => {
      themes.disconnect();
      model.batchesChanged.disconnect(update);
      drawn.dispose();
      chart.current = null;
    };
  }, [model, table, trans]);

  const counts = looks(table);
  const summary = trans.__(
    '%1 batches on %2 workers in %3',
    format.count(table.length),
    format.count(table.lanes.length),
    format.duration(Math.max(0, table.to - table.from), trans)
  );
  return (
    <>
      <div
        ref={host}
        className="cb-Timeline"
        role="group"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: plus, minus and arrows zoom and move it
        tabIndex={0}
        aria-label={trans.__(
          'Timeline: %1. Plus and minus zoom, the arrows move.',
          summary
        )}
        onKeyDown={event => {
          const [by, moved] = KEYS[event.key] ?? [];
          if (by !== undefined) {
            chart.current?.zoom(by, moved);
            event.preventDefault();
            event.stopPropagation();
          }
        }}
      />
      <div className="cb-Timeline-pointed" aria-hidden="true">
        {pointed < 0 || pointed >= table.length
          ? summary
          : describe(model, pointed, trans)}
      </div>
      <ul className="cb-Legend" aria-label={trans.__('Batches')}>
        {LEGEND.filter(look => counts.has(look)).map(look => (
          <li key={look} data-look={Look[look].toLowerCase()}>
            {lookName(look, trans)}
            <span> {format.count(counts.get(look) ?? 0)}</span>
          </li>
        ))}
        {zoomed && (
          <li className="cb-Legend-action">
            <Action label={trans.__('Show all')} onClick={() => chart.current?.reset()} />
          </li>
        )}
      </ul>
    </>
  );
}

function lookName(look: Look, trans: TranslationBundle): string {
  switch (look) {
    case Look.Done:
      return trans.__('done');
    case Look.Failed:
      return trans.__('failed');
    case Look.Lost:
      return trans.__('lost');
    case Look.Cancelled:
      return trans.__('cancelled');
    case Look.Retry:
      return trans.__('tried again');
    case Look.Backup:
      return trans.__('second copy');
  }
}

/** A batch in a line: whose, which items, when, how long. */
function describe(model: JobModel, row: number, trans: TranslationBundle): string {
  const table = model.batches;
  const first = table.first[row] as number;
  const count = table.count[row] as number;
  const items =
    count === 1
      ? trans.__('item %1', first)
      : trans.__('items %1 to %2', first, first + count - 1);
  const parts = [
    table.lanes[table.lane[row] as number]?.worker,
    items,
    lookName(table.look[row] as Look, trans),
    format.duration((table.end[row] as number) - (table.start[row] as number), trans)
  ];
  const memory = table.memory[row] as number;
  return [...parts, memory > 0 ? format.bytes(memory) : null]
    .filter(part => part)
    .join(' · ');
}
