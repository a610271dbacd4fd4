/** A job in numbers, as names and values. */

import type { TranslationBundle } from '@jupyterlab/translation';

import { backendLabel, type IInterval, type IJob, isActive } from '../../api/types';
import * as format from '../../format';
import { costOf } from '../jobs/cost';
import type { Fact } from '../parts';

/** What a job page shows above its figures; null stands for what does not apply. */
export function factsOf(
  job: IJob,
  elapsed: number,
  trans: TranslationBundle
): readonly (Fact | null)[] {
  const seconds = (value: number) => format.duration(value, trans);
  const active = isActive(job);
  const cost = costOf(job, trans);
  const basis =
    job.estimate_basis === null
      ? undefined
      : trans.__('Nine of ten should lie within; judged by %1', job.estimate_basis);
  const total = job.total === null ? '?' : format.count(job.total);
  return [
    {
      name: trans.__('Done'),
      value:
        job.done === job.total
          ? trans.__('all %1', total)
          : trans.__('%1 of %2', format.count(job.done), total)
    },
    job.cached > 0
      ? {
          name: trans.__('From the cache'),
          value: job.cached === job.total ? trans.__('all') : format.count(job.cached)
        }
      : null,
    job.failed > 0
      ? { name: trans.__('Failed'), value: format.count(job.failed), tone: 'bad' }
      : null,
    active ? { name: trans.__('Running'), value: format.count(job.running) } : null,
    active && job.eta !== null
      ? { name: trans.__('Left'), value: format.timeLeft(job.eta, trans) }
      : null,
    {
      name: active ? trans.__('So far') : trans.__('Took'),
      value: seconds(elapsed),
      title: format.moment(job.started ?? job.created)
    },
    job.estimate_seconds !== null
      ? {
          name: trans.__('Expected'),
          value: seconds(job.estimate_seconds.expected),
          more: between(job.estimate_seconds, seconds, trans),
          title: basis
        }
      : null,
    job.rate !== null
      ? { name: trans.__('Rate'), value: format.rate(job.rate, trans) }
      : null,
    job.speed_up !== null
      ? {
          name: trans.__('Speed-up'),
          value: `${job.speed_up.toFixed(1)}×`,
          title: trans.__(
            '%1 of work, as if run one after the other',
            seconds(job.task_seconds)
          )
        }
      : null,
    { name: trans.__('Backend'), value: backendLabel(job) },
    active ? { name: trans.__('Workers'), value: format.count(job.workers) } : null,
    cost !== null ? { name: trans.__('Spent'), value: cost } : null,
    active && job.committed > 0
      ? {
          name: trans.__('Set aside'),
          value: format.money(job.committed),
          title: trans.__('The most that calls under way can still cost')
        }
      : null,
    job.estimate !== null && job.estimate.expected > 0
      ? {
          name: trans.__('Estimated'),
          value: format.money(job.estimate.expected),
          more: between(job.estimate, format.money, trans),
          title: basis
        }
      : null,
    job.retried > 0
      ? { name: trans.__('Tried again'), value: format.count(job.retried) }
      : null,
    job.lost_workers > 0
      ? {
          name: trans.__('Workers lost'),
          value: format.count(job.lost_workers),
          tone: 'bad'
        }
      : null
  ];
}

/** The bounds of an interval, in a few words; nothing where they read the same. */
function between(
  { low, high }: IInterval,
  show: (value: number) => string,
  trans: TranslationBundle
): string | undefined {
  return show(low) === show(high)
    ? undefined
    : trans.__('%1 to %2', show(low), show(high));
}
