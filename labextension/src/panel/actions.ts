/** What the panel does in the rest of JupyterLab. */

import { Clipboard, Notification } from '@jupyterlab/apputils';
import type { IDocumentManager } from '@jupyterlab/docmanager';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { IJob } from '../api/types';
import type { Attaching } from './attaching';

/** Milliseconds that a browser may take to begin saving a file. */
const LINGER = 10_000;

export interface IActions {
  /** Whether the notebook of a job can be shown. */
  canOpen(job: IJob): boolean;
  /** Show the cell that started a job. */
  openCell(job: IJob): Promise<void>;
  copy(text: string): void;
  /** Take hold of a job in the current notebook, by a cell that runs `line`. */
  attach(job: IJob, line: string): Promise<void>;
  /** Let the browser save a file. */
  save(name: string, file: Blob): void;
}

export class Actions implements IActions {
  constructor(
    private readonly _documents: IDocumentManager,
    private readonly _attaching: Attaching,
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

  async attach(job: IJob, line: string): Promise<void> {
    try {
      await this._attaching.attach(job, line);
    } catch (error) {
      Notification.error(error instanceof Error ? error.message : String(error));
    }
  }

  save(name: string, file: Blob): void {
    const url = URL.createObjectURL(file);
    const link = document.createElement('a');
    link.href = url;
    link.download = name; // never shown at this address, where it could ask the server
    link.click();
    window.setTimeout(() => URL.revokeObjectURL(url), LINGER);
  }
}
