/** Makes what the server would send. */

import type { IBatches, IJob } from '../src/api/types';

/** A job as the server describes one, changed in what a test is about. */
export function job(id: string, part: Partial<IJob> = {}): IJob {
  return {
    id,
    name: 'fit',
    kind: 'map',
    backend: 'local',
    emulated: false,
    notebook: 'sweep.ipynb',
    notebook_name: 'sweep.ipynb',
    cell_id: 'cell-1',
    state: 'done',
    total: 200,
    done: 200,
    cached: 0,
    failed: 0,
    running: 0,
    workers: 4,
    created: 1000,
    started: 1000,
    ended: 1010,
    elapsed: 10,
    rate: 20,
    eta: null,
    task_seconds: 38,
    speed_up: 3.8,
    spend: 0,
    committed: 0,
    expected_spend: null,
    estimate: null,
    estimate_seconds: null,
    estimate_basis: null,
    budget: null,
    error: null,
    warnings: [],
    retried: 0,
    lost_workers: 0,
    can_cancel: false,
    can_retry: false,
    can_attach: false,
    detached: false,
    ...part
  };
}

interface IBatch {
  worker?: string;
  first: number;
  count?: number;
  start: number;
  end: number;
  status?: string;
  memory?: number;
}

/** Batches in columns, numbered from `row`. */
export function batches(list: readonly IBatch[], row = 1): IBatches {
  const workers = [...new Set(list.map(({ worker = 'w1' }) => worker))];
  const statuses = [...new Set(list.map(({ status = 'done' }) => status))];
  const zeros = list.map(() => 0);
  return {
    workers,
    statuses,
    columns: {
      row: list.map((_, i) => row + i),
      batch: list.map((_, i) => row + i),
      attempt: list.map(() => 1),
      worker: list.map(({ worker = 'w1' }) => workers.indexOf(worker)),
      first: list.map(({ first }) => first),
      count: list.map(({ count = 1 }) => count),
      start: list.map(({ start }) => start),
      end: list.map(({ end }) => end),
      status: list.map(({ status = 'done' }) => statuses.indexOf(status)),
      failed: zeros,
      cpu: zeros,
      memory: list.map(({ memory = 0 }) => memory),
      cost: zeros
    },
    next: row + list.length - 1,
    more: false
  };
}
