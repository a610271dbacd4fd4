/** Follows the feed while a kernel of this JupyterLab is busy: that is when jobs begin. */

import type { ISessionContext } from '@jupyterlab/apputils';
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';

import type { IJobsModel } from '../tokens';

/** Milliseconds a kernel must be busy: most cells end sooner, and no job did that. */
const PATIENCE = 300;

/** Follow `jobs` whenever the kernel of one of the notebooks is busy. */
export function followBusyKernels(notebooks: INotebookTracker, jobs: IJobsModel): void {
  notebooks.forEach(panel => {
    followBusyKernel(panel, jobs);
  });
  notebooks.widgetAdded.connect((_, panel) => followBusyKernel(panel, jobs));
}

function followBusyKernel(panel: NotebookPanel, jobs: IJobsModel): void {
  let following: IDisposable | null = null;
  let waiting: number | undefined;

  const onStatus = (_: ISessionContext | null, status: Kernel.Status): void => {
    if (status === 'busy') {
      waiting ??= window.setTimeout(() => {
        following = jobs.follow();
      }, PATIENCE);
    } else {
      window.clearTimeout(waiting);
      waiting = undefined;
      following?.dispose();
      following = null;
    }
  };
  const { sessionContext } = panel;
  sessionContext.statusChanged.connect(onStatus);
  onStatus(null, sessionContext.session?.kernel?.status ?? 'unknown');
  panel.disposed.connect(() => {
    sessionContext.statusChanged.disconnect(onStatus);
    onStatus(null, 'dead');
  });
}
