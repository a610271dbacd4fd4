/** Tells those who listen instead of looking how jobs go: seldom, and when they end. */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { type IJob, isActive } from '../api/types';
import * as format from '../format';
import type { IJobsModel } from '../tokens';
import { stateName, Visible } from './parts';

/** Seconds between two announcements of progress. */
const PAUSE = 10;

interface IAnnouncementsProps {
  jobs: IJobsModel;
  trans: TranslationBundle;
}

/** A polite live region, hidden from view. */
export function Announcements({ jobs, trans }: IAnnouncementsProps): JSX.Element {
  const [text, setText] = React.useState('');
  const visible = React.useContext(Visible);
  React.useEffect(() => {
    if (!visible) {
      return;
    }
    const running = new Set(jobs.active.map(job => job.id));
    let last = Number.NEGATIVE_INFINITY;
    const onChanged = (_: IJobsModel, ids: ReadonlySet<string>) => {
      const changed = [...ids].map(id => jobs.get(id)).filter(job => job !== undefined);
      const ended = changed.filter(job => !isActive(job) && running.delete(job.id));
      const going = changed.filter(isActive);
      for (const job of going) {
        running.add(job.id);
      }
      const now = performance.now() / 1000;
      if (ended.length === 0 && now - last < PAUSE) {
        return;
      }
      const told = ended.length > 0 ? ended : going;
      if (told.length > 0) {
        last = now;
        setText(told.map(job => sentence(job, trans)).join(' '));
      }
    };
    jobs.changed.connect(onChanged);
    return () => {
      jobs.changed.disconnect(onChanged);
    };
  }, [jobs, trans, visible]);
  return (
    <div className="cb-Announcements" role="status" aria-live="polite">
      {text}
    </div>
  );
}

function sentence(job: IJob, trans: TranslationBundle): string {
  const total = job.total === null ? '?' : format.count(job.total);
  return trans.__(
    '%1: %2, %3 of %4 done.',
    job.name,
    stateName(job.state, trans),
    format.count(job.done),
    total
  );
}
