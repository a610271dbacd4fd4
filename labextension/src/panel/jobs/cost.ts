/** What a job costs, in a few words. */

import type { TranslationBundle } from '@jupyterlab/translation';

import { type IJob, isActive } from '../../api/types';
import * as format from '../../format';

/** What it costs, against what is expected and allowed; null where nothing is billed. */
export function costOf(job: IJob, trans: TranslationBundle): string | null {
  const expected = job.expected_spend ?? job.estimate?.expected ?? null;
  if (job.spend === 0 && !expected && job.budget === null) {
    return null;
  }
  const spend = format.money(job.spend);
  if (job.budget !== null) {
    return trans.__('%1 of at most %2', spend, format.money(job.budget));
  }
  return isActive(job) && expected !== null
    ? trans.__('%1 of about %2', spend, format.money(expected))
    : spend;
}
