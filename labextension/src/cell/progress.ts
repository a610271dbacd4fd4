/** How a job is getting on, in the few letters that a badge has room for. */

import type { TranslationBundle } from '@jupyterlab/translation';

import { type IJob, isActive } from '../api/types';
import { count, money, timeLeft } from '../format';

export interface IProgress {
  readonly text: string;
  /** The same where there is less room: JupyterLab hides a cell's toolbar that covers its code. */
  readonly brief: string;
  /** From 0 to 1, null while the number of items is unknown. */
  readonly part: number | null;
}

/** What to show of a cell's newest job; null once it has ended. */
export function progressOf(
  job: IJob | undefined,
  trans: TranslationBundle
): IProgress | null {
  if (job === undefined || !isActive(job)) {
    return null;
  }
  const ended = job.done + job.failed;
  const part = job.total ? Math.min(1, ended / job.total) : null;
  if (job.state === 'cancelling') {
    const text = trans.__('cancelling');
    return { text, brief: text, part };
  }
  const brief = job.total === null ? count(ended) : `${count(ended)}/${count(job.total)}`;
  const parts = [brief];
  if (job.failed > 0) {
    parts.push(trans.__('%1 failed', count(job.failed)));
  }
  if (job.spend > 0) {
    parts.push(money(job.spend));
  }
  if (job.eta !== null) {
    parts.push(trans.__('%1 left', timeLeft(job.eta, trans)));
  }
  return { text: parts.join(' · '), brief, part };
}
