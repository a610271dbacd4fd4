/** What the panel does in the rest of JupyterLab. */

import { Clipboard, Notification } from '@jupyterlab/apputils';
import type { IDocumentManager } from '@jupyterlab/docmanager';
import {
  type INotebookTracker,
  NotebookActions,
  type NotebookPanel
} from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { IJob } from '../api/types';

/** Characters that a kernel is asked to complete, to learn whether it can attach. */
const QUESTION = '%cloud atta';

export interface IActions {
  /** Whether the notebook of a job can be shown. */
  canOpen(job: IJob): boolean;
  /** Show the cell that started a job. */
  openCell(job: IJob): Promise<void>;
  copy(text: string): void;
  /** Whether the kernel of the current notebook can bring a job's results back. */
  canAttach(): Promise<boolean>;
  /** Insert a cell below the active one that does, and run it. */
  attach(job: IJob): Promise<void>;
}

export class Actions implements IActions {
  constructor(
    private readonly _documents: IDocumentManager,
    private readonly _notebooks: INotebookTracker,
    private readonly _trans: TranslationBundle
  ) {}

  canOpen(job: IJob): boolean {
    return job.notebook !== null;
  }

  async openCell(job: IJob): Promise<void> {
    const path = job.notebook;
    if (path === null) {
      return;
    }
    const panel = this._documents.openOrReveal(path) as NotebookPanel | undefined;
    if (panel === undefined) {
      Notification.warning(this._trans.__('%1 cannot be opened as a notebook.', path));
      return;
    }
    await panel.revealed;
    const notebook = panel.content;
    const index = notebook.widgets.findIndex(cell => cell.model.id === job.cell_id);
    if (index < 0) {
      Notification.warning(
        this._trans.__('The cell that started %1 is no longer in %2.', job.name, path)
      );
      return;
    }
    notebook.deselectAll();
    notebook.activeCellIndex = index;
    notebook.mode = 'command';
    notebook.activate();
    await notebook.scrollToItem(index, 'center');
  }

  copy(text: string): void {
    Clipboard.copyToSystem(text);
    Notification.success(this._trans.__('Copied %1', text), { autoClose: 1500 });
  }

  async canAttach(): Promise<boolean> {
    const kernel = this._notebooks.currentWidget?.sessionContext.session?.kernel;
    if (kernel?.status !== 'idle') {
      return false;
    }
    const reply = await kernel.requestComplete({
      code: QUESTION,
      cursor_pos: QUESTION.length
    });
    return reply.content.status === 'ok' && reply.content.matches.includes('attach');
  }

  async attach(job: IJob): Promise<void> {
    const panel = this._notebooks.currentWidget;
    if (panel === null) {
      return;
    }
    NotebookActions.insertBelow(panel.content);
    panel.content.activeCell?.model.sharedModel.setSource(
      `%cloud attach ${job.id} -> results`
    );
    await NotebookActions.run(panel.content, panel.sessionContext);
  }
}
