/** "Attach here": a cell in the current notebook that takes hold of a job, and runs. */

import { Dialog, InputDialog, Notification, showDialog } from '@jupyterlab/apputils';
import {
  type INotebookTracker,
  NotebookActions,
  type NotebookPanel
} from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { Client } from '../api/client';
import { backendLabel, type IJob, isActive } from '../api/types';
import { paragraphs } from '../cell/asking';
import { BUDGET, parseBudget } from '../cell/choice';
import { money } from '../format';
import { effect, lacking, missing } from './job/attach';

/** Characters that a kernel is asked to complete, to learn whether it knows the magic. */
const QUESTION = '%cloud atta';
const LOAD = '%load_ext cloudbutton_ext\n';

export class Attaching {
  constructor(
    private readonly _notebooks: INotebookTracker,
    private readonly _client: Client,
    private readonly _trans: TranslationBundle,
    /** The setting "confirm before spending". */
    private readonly _confirms: () => boolean
  ) {}

  /** Insert a cell below the active one that runs `line`, and run it; ask first if that is billed. */
  async attach(job: IJob, line: string): Promise<void> {
    const panel = this._notebooks.currentWidget;
    const kernel = panel?.sessionContext.session?.kernel;
    if (!panel || !kernel || !(await runsPython(kernel))) {
      Notification.warning(
        this._trans.__('Open a notebook with a Python kernel: the results come there.')
      );
      return;
    }
    const options = await this._agree(job);
    if (options === null || panel.isDisposed) {
      return;
    }
    const load = (await isLoaded(kernel)) ? '' : LOAD;
    await runBelow(panel, load + line + options);
  }

  /** What to add to the line: a larger budget, or nothing. Null if the user does not want to go on. */
  private async _agree(job: IJob): Promise<string | null> {
    if (missing(job) === 0 || isActive(job)) {
      return '';
    }
    if (job.budget !== null && job.spend > 0) {
      return this._askForMore(job, job.budget);
    }
    if (!this._confirms() || !(await this._costs(job))) {
      return '';
    }
    const { button } = await showDialog({
      title: this._title(job),
      body: paragraphs([
        effect(job, this._trans),
        job.budget === null
          ? this._trans.__('That is billed, and has no budget.')
          : this._trans.__('That is billed, up to %1.', money(job.budget))
      ]),
      buttons: [
        Dialog.cancelButton(),
        Dialog.okButton({ label: this._trans.__('Go On') })
      ],
      defaultButton: 0 // Enter must not spend
    });
    return button.accept ? '' : null;
  }

  private async _askForMore(job: IJob, budget: number): Promise<string | null> {
    const { value } = await InputDialog.getText({
      title: this._title(job),
      label: this._trans.__(
        '%1 of its budget of %2 is spent. Add to the budget, in US dollars; empty for nothing',
        money(job.spend),
        money(budget)
      ),
      text: lacking(job) > 0 ? `${lacking(job)}` : '',
      placeholder: '0.50',
      prefix: '$',
      pattern: BUDGET,
      okLabel: this._trans.__('Go On')
    });
    if (value === null) {
      return null;
    }
    const more = parseBudget(value);
    if (more === undefined) {
      Notification.warning(
        this._trans.__('“%1” is not a number of dollars above 0.', value)
      );
      return null;
    }
    return more === null ? '' : ` --budget +${more}`;
  }

  private _title(job: IJob): string {
    return this._trans.__('Go on with %1 on %2?', job.name, backendLabel(job));
  }

  private async _costs(job: IJob): Promise<boolean> {
    if (job.spend > 0) {
      return true;
    }
    const known = await this._client.backends();
    // Where one stands in for a backend, another kernel may have the backend itself.
    return known.some(({ name, costs }) => name === job.backend && costs);
  }
}

async function runsPython(kernel: Kernel.IKernelConnection): Promise<boolean> {
  return kernel.status !== 'dead' && (await kernel.info).language_info.name === 'python';
}

/** Whether a kernel knows `%cloud attach`; one that is busy probably runs one of our jobs. */
async function isLoaded(kernel: Kernel.IKernelConnection): Promise<boolean> {
  if (kernel.status !== 'idle') {
    return true;
  }
  const { content } = await kernel.requestComplete({
    code: QUESTION,
    cursor_pos: QUESTION.length
  });
  return content.status === 'ok' && content.matches.includes('attach');
}

async function runBelow(panel: NotebookPanel, text: string): Promise<void> {
  const notebook = panel.content;
  NotebookActions.insertBelow(notebook);
  notebook.activeCell?.model.sharedModel.setSource(text);
  await NotebookActions.run(notebook, panel.sessionContext);
}
