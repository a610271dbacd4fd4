/** What attaching to a job would do, in words and numbers. Pure. */

import type { TranslationBundle } from '@jupyterlab/translation';

import { backendLabel, type IJob, isActive } from '../../api/types';
import * as format from '../../format';

/** What is added for what an item's mean cost does not tell. */
const MARGIN = 1.2;

/** Items that would run; null while their number is not known. */
export function missing(job: IJob): number | null {
  if (job.state === 'done') {
    return 0;
  }
  return job.total === null ? null : Math.max(0, job.total - job.done);
}

/** What "Attach here" does with a job, in a sentence or two. */
export function effect(job: IJob, trans: TranslationBundle): string {
  if (isActive(job)) {
    return trans.__(
      'Attach here follows it to its end and brings the results. Nothing runs twice.'
    );
  }
  if (missing(job) === 0 && job.kind !== 'button') {
    return trans._n(
      'Attach here brings its %2 result. Nothing runs again.',
      'Attach here brings its %2 results. Nothing runs again.',
      job.done,
      format.count(job.done)
    );
  }
  if (job.kind === 'button') {
    return trans.__(
      'Attach here runs the cell again in this notebook. It needs what the cells above define; of %1 finished, those stay whose code and values are then the same.',
      format.count(job.done)
    );
  }
  return trans.__(
    'Attach here goes on with it in this notebook: %1',
    keptAndRun(job, trans)
  );
}

function keptAndRun(job: IJob, trans: TranslationBundle): string {
  const left = missing(job);
  const kept = format.count(job.done);
  return left === null
    ? trans.__(
        '%1 finished are kept, and what else it was given runs on %2.',
        kept,
        backendLabel(job)
      )
    : trans.__(
        '%1 finished are kept, %2 run on %3.',
        kept,
        format.count(left),
        backendLabel(job)
      );
}

/**
 * What a budget probably lacks for the rest of a job, in whole cents.
 *
 * Judged by what an item has cost so far; 0 where that is not known.
 */
export function lacking(job: IJob): number {
  const left = missing(job);
  if (left === null || job.budget === null || job.done <= job.cached) {
    return 0;
  }
  const rest = (MARGIN * left * job.spend) / (job.done - job.cached);
  return Math.max(0, Math.ceil(100 * (rest - (job.budget - job.spend)) - 1e-6) / 100);
}
