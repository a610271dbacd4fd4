/** What the commands of the button do to a cell. */

import {
  Dialog,
  InputDialog,
  type ISessionContextDialogs,
  showDialog
} from '@jupyterlab/apputils';
import type { Cell } from '@jupyterlab/cells';
import { NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';

import { ApiError, type Client } from '../api/client';
import type { IBackend } from '../api/types';
import { paragraphs } from './asking';
import {
  BUDGET,
  type Choice,
  choiceOf,
  KEY,
  parseBudget,
  turnedOff,
  turnedOn,
  withOption
} from './choice';
import { showPlan } from './planView';
import { press } from './press';
import type { IButtonSettings } from './settings';
import type { NotebookWatcher } from './watcher';

/** The cell that a command is about. */
export interface ITarget {
  readonly panel: NotebookPanel;
  readonly cell: Cell;
  readonly watcher: NotebookWatcher;
}

export interface IActionOptions {
  readonly client: Client;
  readonly settings: () => IButtonSettings;
  readonly translator: ITranslator;
  readonly dialogs: ISessionContextDialogs | null;
}

export class CellActions {
  constructor(
    private readonly _options: IActionOptions,
    private readonly _trans: TranslationBundle
  ) {}

  async press(target: ITarget): Promise<void> {
    const { cell, watcher } = target;
    const choice = watcher.choice(cell);
    switch (press(watcher.state(cell))) {
      case 'run':
        write(cell, turnedOn(choice, this._options.settings()));
        return this._run(target);
      case 'on':
        return write(cell, turnedOn(choice, this._options.settings()));
      case 'off':
        return write(cell, turnedOff(choice));
      case 'cancel':
        return this._cancel(target);
      case 'none':
        return;
    }
  }

  turnOff({ cell, watcher }: ITarget): void {
    write(cell, turnedOff(watcher.choice(cell)));
  }

  showPlan({ panel, cell, watcher }: ITarget): Promise<void> {
    const choice = watcher.choice(cell);
    const planned = choice.on ? choice : turnedOn(choice, this._options.settings());
    return showPlan(panel, cell, planned, this._trans);
  }

  async runOn(target: ITarget): Promise<void> {
    const trans = this._trans;
    let backends: readonly IBackend[];
    try {
      backends = await this._options.client.backends();
    } catch (error) {
      await this._tell(
        trans.__('The list of backends could not be read'),
        `${(error as Error).message}`
      );
      return;
    }
    const settingsDecide = trans.__('what the settings say');
    const titles = backends.map(each =>
      each.available ? each.title : trans.__('%1 (%2)', each.title, each.problem ?? '')
    );
    const before = choiceOf(target.cell.model.getMetadata(KEY));
    const current = backends.findIndex(each => each.name === before.backend);
    const answer = await InputDialog.getItem({
      title: trans.__('Run this cell on'),
      items: [settingsDecide, ...titles],
      current: current + 1,
      okLabel: trans.__('Run')
    });
    if (!answer.button.accept || answer.value === null) {
      return;
    }
    const chosen = backends[titles.indexOf(answer.value)]?.name ?? null;
    const { cell, watcher } = target;
    const choice = withOption(watcher.choice(cell), 'backend', chosen);
    write(cell, { ...choice, on: true });
    if (!watcher.state(cell).running) {
      await this._run(target);
    }
  }

  async setBudget({ cell, watcher }: ITarget): Promise<void> {
    const trans = this._trans;
    const { budget } = watcher.choice(cell);
    const answer = await InputDialog.getText({
      title: trans.__('Budget of this cell'),
      label: trans.__('US dollars that a run may cost at most; empty for no limit'),
      text: typeof budget === 'number' ? `${budget}` : '',
      placeholder: '0.50',
      prefix: '$',
      pattern: BUDGET
    });
    if (!answer.button.accept) {
      return;
    }
    const value = parseBudget(answer.value ?? '');
    if (value === undefined) {
      await this._tell(
        trans.__('That is no budget'),
        trans.__('“%1” is not a number of dollars above 0.', answer.value ?? '')
      );
      return;
    }
    if (!cell.isDisposed) {
      write(cell, withOption(watcher.choice(cell), 'budget', value));
    }
  }

  private async _run({ panel, cell }: ITarget): Promise<void> {
    const { dialogs, translator } = this._options;
    await NotebookActions.runCells(
      panel.content,
      [cell],
      panel.sessionContext,
      dialogs ?? undefined,
      translator
    );
  }

  private async _cancel({ cell, watcher }: ITarget): Promise<void> {
    const job = watcher.job(cell);
    if (job === undefined) {
      return;
    }
    try {
      await this._options.client.cancel(job.id);
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) {
        return; // it ended before we heard of it: nothing is left to cancel
      }
      await this._tell(
        this._trans.__('The job could not be cancelled'),
        `${(error as Error).message}`
      );
    }
  }

  private async _tell(title: string, message: string): Promise<void> {
    const buttons = [Dialog.okButton()];
    await showDialog({ title, body: paragraphs([message]), buttons });
  }
}

function write(cell: Cell, choice: Choice | null): void {
  const bare = choice !== null && !choice.on && Object.keys(choice).length === 1;
  if (choice === null || bare) {
    cell.model.deleteMetadata(KEY);
  } else {
    cell.model.setMetadata(KEY, choice);
  }
}
