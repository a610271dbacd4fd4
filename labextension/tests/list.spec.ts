import { Signal } from '@lumino/signaling';
import { describe, expect, it, vi } from 'vitest';

import type { Feed } from '../src/api/feed';
import type { IChange, IJob, IJobQuery } from '../src/api/types';
import { JobListModel } from '../src/panel/jobs/model';
import type { IJobsModel } from '../src/tokens';
import { job } from './make';

/** A journal that answers as the server does, without the network in between. */
class Journal {
  readonly queries: IJobQuery[] = [];
  readonly changed = new Signal<IJobsModel, ReadonlySet<string>>(this as never);
  readonly feed = { received: new Signal<Feed, IChange>(this as never) };
  jobs: IJob[];

  constructor(count: number) {
    this.jobs = [...new Array(count).keys()].map(i =>
      job(`old-${i}`, { created: 1000 - i })
    );
  }

  readonly client = {
    jobs: async (query: IJobQuery) => {
      this.queries.push(query);
      const { limit = 50, offset = 0, state } = query;
      const found = this.jobs.filter(each => !state || each.state === state);
      return {
        jobs: found.slice(offset, offset + limit),
        total: found.length,
        cursor: 'e.1'
      };
    }
  };

  get = (id: string) => this.jobs.find(each => each.id === id);

  /** A job begins or changes, and the feed says so. */
  put(fresh: IJob): void {
    this.jobs = [fresh, ...this.jobs.filter(({ id }) => id !== fresh.id)].sort(
      (a, b) => b.created - a.created
    );
    this.changed.emit(new Set([fresh.id]));
  }
}

async function opened(journal: Journal): Promise<JobListModel> {
  const model = new JobListModel(journal as unknown as IJobsModel, () => 0);
  model.isVisible = true;
  await vi.waitFor(() => expect(model.isLoaded).toBe(true));
  return model;
}

const ids = (model: JobListModel) => model.jobs.map(({ id }) => id);

describe('the list of jobs', () => {
  it('reads one page of five thousand jobs', async () => {
    const journal = new Journal(5000);
    const model = await opened(journal);
    expect(journal.queries).toEqual([{ limit: 50, offset: 0 }]);
    expect(model.jobs).toHaveLength(50);
    expect(model.total).toBe(5000);
  });

  it('has each job once when pages shift under it', async () => {
    const journal = new Journal(120);
    const model = await opened(journal);
    journal.put(job('new', { created: 2000 }));
    await model.older();
    expect(new Set(ids(model)).size).toBe(model.jobs.length);
    expect(ids(model)[0]).toBe('new');
    expect(model.jobs).toHaveLength(101);
    expect(model.total).toBe(121);
  });

  it('leaves an old job that changed to its page', async () => {
    const journal = new Journal(120);
    const model = await opened(journal);
    journal.put(job('old-99', { created: 1000 - 99, state: 'running' }));
    expect(ids(model)).not.toContain('old-99');
    expect(model.total).toBe(120);
  });

  it('drops a job that the filter no longer lets through', async () => {
    const journal = new Journal(0);
    journal.put(job('a', { created: 10, state: 'running' }));
    const model = await opened(journal);
    model.setFilter({ state: 'running' });
    await vi.waitFor(() => expect(journal.queries).toHaveLength(2));
    expect(ids(model)).toEqual(['a']);
    journal.put(job('b', { created: 11, state: 'done' }));
    journal.put(job('a', { created: 10, state: 'done' }));
    expect(ids(model)).toEqual([]);
    expect(model.total).toBe(0);
  });

  it('asks nothing and follows nothing while it is hidden', async () => {
    const journal = new Journal(3);
    const model = await opened(journal);
    const emitted = vi.fn();
    model.isVisible = false;
    model.changed.connect(emitted);
    journal.put(job('new', { created: 2000 }));
    expect(emitted).not.toHaveBeenCalled();
    expect(journal.queries).toHaveLength(1);
    model.isVisible = true;
    await vi.waitFor(() => expect(ids(model)[0]).toBe('new'));
  });

  it('reads its page again when the journal is another one', async () => {
    const journal = new Journal(3);
    const model = await opened(journal);
    journal.jobs = [job('other', { created: 5 })];
    journal.feed.received.emit({
      type: 'jobs',
      cursor: 'f.1',
      jobs: journal.jobs,
      removed: [],
      reset: true
    });
    await vi.waitFor(() => expect(ids(model)).toEqual(['other']));
  });

  it('keeps what the feed brought while an older answer was on its way', async () => {
    const journal = new Journal(3);
    journal.put(job('a', { created: 2000, state: 'running', done: 6 }));
    const model = await opened(journal);
    const answer = journal.client.jobs;
    journal.client.jobs = async query => {
      const old = await answer(query);
      journal.put(job('b', { created: 2001 }));
      journal.put(job('a', { created: 2000, state: 'done', done: 8 }));
      return old;
    };
    await model.refresh();
    expect(model.jobs.slice(0, 2)).toMatchObject([
      { id: 'b' },
      { id: 'a', state: 'done', done: 8 }
    ]);
    expect(model.total).toBe(5);
  });

  it('shows the answer to the latest question only', async () => {
    const journal = new Journal(3);
    const model = await opened(journal);
    const answer = journal.client.jobs;
    let arrive = () => {};
    const late = new Promise<void>(resolve => {
      arrive = resolve;
    });
    journal.client.jobs = async query => {
      if (query.state === 'failed') {
        await late;
      }
      return answer(query);
    };
    model.setFilter({ state: 'failed' });
    const slow = model.refresh();
    model.setFilter({ state: null });
    await model.refresh();
    arrive();
    await slow;
    expect(model.jobs).toHaveLength(3);
  });
});
