/** The plugin that shares the jobs. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';

import { Client } from '../api/client';
import { Feed } from '../api/feed';
import { IJobsModel } from '../tokens';
import { followBusyKernels } from './activity';
import { JobsModel } from './model';

export const jobsPlugin: JupyterFrontEndPlugin<IJobsModel> = {
  id: 'cloudbutton:jobs',
  description: 'Knows the jobs of all notebooks as they are now.',
  autoStart: true,
  provides: IJobsModel,
  optional: [INotebookTracker],
  activate: (app: JupyterFrontEnd, notebooks: INotebookTracker | null) => {
    const client = new Client(app.serviceManager.serverSettings);
    const feed = new Feed({ connect: cursor => client.changes(cursor) });
    const jobs = new JobsModel(client, feed);
    if (notebooks !== null) {
      followBusyKernels(notebooks, jobs);
    }
    return jobs;
  }
};
