/** One job in the list. Every decision is the model's; this only draws. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { notebookIcon, stopIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { backendLabel, type IJob, isActive } from '../../api/types';
import * as format from '../../format';
import { detachedMeans, ProgressBar, StateDot, stateName, useElapsed } from '../parts';
import { costOf } from './cost';

interface IJobRowProps {
  job: IJob;
  trans: TranslationBundle;
  onOpen: (job: IJob) => void;
  onOpenCell: (job: IJob) => void;
  onCancel: (job: IJob) => void;
}

function JobRow({ job, trans, ...on }: IJobRowProps): JSX.Element {
  const now = Date.now() / 1000;
  const elapsed = useElapsed(job);
  const state = stateName(job.state, trans);
  const detached = detachedMeans(job, trans);
  return (
    <li className="cb-JobRow" data-state={job.state}>
      <div className="cb-JobRow-head">
        <StateDot state={job.state} />
        <button
          type="button"
          className="cb-JobRow-name"
          title={job.name}
          aria-label={trans.__('%1, %2', job.name, state)}
          onClick={() => on.onOpen(job)}
        >
          {job.name}
        </button>
        {job.can_cancel && (
          <button
            type="button"
            className="cb-IconButton"
            title={trans.__('Cancel this job')}
            aria-label={trans.__('Cancel %1', job.name)}
            onClick={() => on.onCancel(job)}
          >
            <stopIcon.react tag="span" />
          </button>
        )}
        <span className="cb-JobRow-when" title={format.moment(job.created)}>
          {isActive(job)
            ? trans.__('for %1', format.duration(elapsed, trans))
            : format.ago(now - (job.ended ?? job.created), trans)}
        </span>
      </div>
      {job.state !== 'done' && <ProgressBar job={job} trans={trans} />}
      <div className="cb-Dots">
        <span className="cb-JobRow-state">{state}</span>
        {detached !== null && <span title={detached}>{trans.__('detached')}</span>}
        {progressOf(job, trans).map(part => (
          <span key={part}>{part}</span>
        ))}
        {job.cached > 0 && (
          <span>{trans.__('%1 from the cache', format.count(job.cached))}</span>
        )}
        {job.failed > 0 && (
          <span data-tone="bad">{trans.__('%1 failed', format.count(job.failed))}</span>
        )}
      </div>
      <div className="cb-Dots cb-JobRow-where">
        {job.notebook !== null ? (
          <button
            type="button"
            className="cb-Link"
            title={trans.__('Go to the cell in %1', job.notebook)}
            onClick={() => on.onOpenCell(job)}
          >
            <notebookIcon.react tag="span" className="cb-Link-icon" />
            <span>{job.notebook_name}</span>
          </button>
        ) : (
          <span>{job.notebook_name ?? trans.__('not from a notebook')}</span>
        )}
        <span>{backendLabel(job)}</span>
        {costOf(job, trans) !== null && <span>{costOf(job, trans)}</span>}
      </div>
      {job.error !== null && (
        <div className="cb-JobRow-error" title={job.error}>
          {job.error}
        </div>
      )}
    </li>
  );
}

/** A job that did not change need not be drawn again. */
export const Row = React.memo(JobRow, (a, b) => a.job === b.job && a.trans === b.trans);

/** How far it is and how fast, or how long it took. */
export function progressOf(job: IJob, trans: TranslationBundle): readonly string[] {
  const parts: string[] = [];
  const total = job.total === null ? '?' : format.count(job.total);
  if (!isActive(job)) {
    parts.push(
      job.done === job.total
        ? trans._n('%2 item', '%2 items', job.done, format.count(job.done))
        : trans.__('%1 of %2', format.count(job.done), total)
    );
    parts.push(format.duration(job.elapsed, trans));
    return parts;
  }
  parts.push(trans.__('%1 of %2', format.count(job.done), total));
  if (job.rate !== null) {
    parts.push(format.rate(job.rate, trans));
  }
  if (job.eta !== null && job.state === 'running') {
    parts.push(trans.__('%1 left', format.timeLeft(job.eta, trans)));
  }
  return parts;
}
