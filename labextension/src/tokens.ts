/** What this extension's plugins, and other extensions, may require of each other. */

import { Token } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';

import type { Client } from './api/client';
import type { Feed } from './api/feed';
import type { IJob } from './api/types';

/** The jobs as they are now, of all notebooks, kernels and scripts. */
export interface IJobsModel {
  /** Emits the ids of the jobs that are new, different or gone; at most ten times a second. */
  readonly changed: ISignal<IJobsModel, ReadonlySet<string>>;

  /** The server's endpoints. */
  readonly client: Client;

  /** What the server pushes; `follow` is how one asks for it. */
  readonly feed: Feed;

  /** Jobs that run now. */
  readonly active: readonly IJob[];

  get(id: string): IJob | undefined;

  /**
   * The newest job that a cell has started, if it is known.
   *
   * A job is known if it is among the newest 50, or has changed since JupyterLab was opened.
   *
   * @param notebook - its path without a drive, as `context.localPath`
   */
  newestOfCell(notebook: string, cellId: string): IJob | undefined;

  /**
   * Keep what is known up to date until the result is disposed.
   *
   * While it is not needed, no kernel is busy and no job runs, there is neither a connection nor a
   * request. A cell's badge need not ask: a busy kernel or a running job is reason enough.
   */
  follow(): IDisposable;
}

export const IJobsModel = new Token<IJobsModel>(
  'cloudbutton:IJobsModel',
  'The jobs of Cloud Button, as they are now.'
);

/** Command ids; `showJob` takes `{ job: string }` and opens the panel at it. */
export const Commands = {
  showPanel: 'cloudbutton:show-panel',
  showJob: 'cloudbutton:show-job'
} as const;
