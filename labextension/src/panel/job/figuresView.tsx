/** Two small figures: how long items took, and what memory the workers had. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { UseSignal } from '@jupyterlab/ui-components';
import type * as React from 'react';

import * as format from '../../format';
import { Facts } from '../parts';
import { durations, type IMemory, memory } from './figures';
import type { JobModel } from './model';

interface IFigureProps {
  model: JobModel;
  trans: TranslationBundle;
}

const MEMORY_STEPS = 100;

export function Durations({ model, trans }: IFigureProps): JSX.Element {
  return (
    <UseSignal signal={model.batchesChanged}>
      {() => <Histogram model={model} trans={trans} />}
    </UseSignal>
  );
}

function Histogram({ model, trans }: IFigureProps): JSX.Element {
  const figure = durations(model.batches);
  if (figure === null) {
    return <p className="cb-Hint">{trans.__('No item has ended yet.')}</p>;
  }
  const { counts, edges } = figure;
  const most = Math.max(...counts, 1);
  const text = (seconds: number | undefined) => format.duration(seconds ?? 0, trans);
  return (
    <>
      <div
        className="cb-Bars"
        role="img"
        aria-label={trans.__(
          'Half of the items took less than %1, the longest %2.',
          text(figure.median),
          text(figure.longest)
        )}
      >
        {counts.map((count, i) => (
          <span
            key={edges[i]}
            className="cb-Bars-slot"
            title={trans.__(
              '%1 items, %2 to %3',
              format.count(count),
              text(edges[i]),
              text(edges[i + 1])
            )}
          >
            <span style={{ height: height(count, most) }} />
          </span>
        ))}
      </div>
      <div className="cb-Bars-axis" aria-hidden="true">
        <span>{text(edges[0])}</span>
        <span>{text(edges[Math.floor(edges.length / 2)])}</span>
        <span>{text(edges[edges.length - 1])}</span>
      </div>
      <Facts
        facts={[
          { name: trans.__('Median'), value: text(figure.median) },
          { name: trans.__('95% below'), value: text(figure.p95) },
          { name: trans.__('Longest'), value: text(figure.longest) }
        ]}
      />
    </>
  );
}

/** One item among thousands is still to be seen. */
function height(count: number, most: number): string {
  return count === 0 ? '0' : `max(2px, ${(100 * count) / most}%)`;
}

export function Memory({ model, trans }: IFigureProps): JSX.Element {
  return (
    <UseSignal signal={model.batchesChanged}>
      {() => <MemoryFigure model={model} trans={trans} />}
    </UseSignal>
  );
}

function MemoryFigure({ model, trans }: IFigureProps): React.ReactElement {
  const figure = memory(model.batches, MEMORY_STEPS);
  if (figure === null) {
    return <p className="cb-Hint">{trans.__('No memory was measured.')}</p>;
  }
  const limit = model.details?.options.memory;
  const allowed = typeof limit === 'number' ? limit * 2 ** 20 : null;
  return (
    <>
      <svg
        className="cb-Curve"
        viewBox={`0 0 ${MEMORY_STEPS} 100`}
        preserveAspectRatio="none"
        role="img"
        aria-label={trans.__(
          'Memory of the workers, at most %1',
          format.bytes(figure.highest)
        )}
      >
        <path d={curve(figure)} />
      </svg>
      <Facts
        facts={[
          {
            name: trans.__('Highest'),
            value: format.bytes(figure.highest),
            title: figure.worker
          },
          { name: trans.__('By worker'), value: figure.worker },
          allowed === null
            ? null
            : { name: trans.__('Allowed'), value: format.bytes(allowed) }
        ]}
      />
    </>
  );
}

/** The peaks as the outline of an area; a gap goes on as high as before. */
function curve({ peaks, highest }: IMemory): string {
  let last = 0;
  const points = [...peaks].map((peak, i) => {
    last = Number.isNaN(peak) ? last : peak;
    return `L${i} ${(100 - (95 * last) / highest).toFixed(1)}`;
  });
  return `M0 100${points.join('')}L${MEMORY_STEPS} ${(100 - (95 * last) / highest).toFixed(1)}V100Z`;
}
