/** The commands of the button, on the active cell of the notebook in front. */

import {
  Dialog,
  InputDialog,
  type ISessionContextDialogs,
  showDialog
} from '@jupyterlab/apputils';
import type { Cell } from '@jupyterlab/cells';
import {
  type INotebookTracker,
  NotebookActions,
  type NotebookPanel
} from '@jupyterlab/notebook';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';

import { ApiError, type Client } from '../api/client';
import type { IBackend } from '../api/types';
import { cloudIcon } from '../icons';
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
import { type Press, press } from './press';
import type { IButtonSettings } from './settings';
import type { NotebookWatcher } from './watcher';

export const CellCommands = {
  press: 'cloudbutton:press',
  showPlan: 'cloudbutton:show-plan',
  runOn: 'cloudbutton:run-on',
  setBudget: 'cloudbutton:set-budget',
  turnOff: 'cloudbutton:turn-off'
} as const;

export interface ICommandOptions {
  readonly tracker: INotebookTracker;
  readonly watcherOf: (panel: NotebookPanel) => NotebookWatcher | undefined;
  readonly client: Client;
  readonly settings: () => IButtonSettings;
  readonly translator: ITranslator;
  readonly dialogs: ISessionContextDialogs | null;
}

/** The cell that a command is about. */
interface ITarget {
  readonly panel: NotebookPanel;
  readonly cell: Cell;
  readonly watcher: NotebookWatcher;
}

export function addCommands(commands: CommandRegistry, options: ICommandOptions): void {
  const trans = options.translator.load('cloudbutton');
  const target = () => targetOf(options);
  const actions = new Actions(options, trans);
  const isOn = () => {
    const found = target();
    return found?.watcher.state(found.cell).on ?? false;
  };

  commands.addCommand(CellCommands.press, {
    icon: cloudIcon,
    label: () => labels(pressOf(target()), trans).label,
    caption: () => labels(pressOf(target()), trans).caption,
    isToggled: isOn,
    isEnabled: () => target() !== null && pressOf(target()) !== 'none',
    // In the toolbar of the notebook it keeps its place, whatever cell is active.
    isVisible: args => args.toolbar !== 'cell' || target() !== null,
    describedBy: {
      args: {
        type: 'object',
        properties: {
          toolbar: { type: 'string', description: 'The toolbar that the button is in.' }
        }
      }
    },
    execute: () => actions.press(target())
  });
  const add = (
    id: string,
    label: string,
    execute: (found: ITarget) => Promise<void> | void,
    isEnabled: () => boolean = () => target() !== null
  ) =>
    commands.addCommand(id, {
      label,
      isEnabled,
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => {
        const found = target();
        return found === null ? undefined : execute(found);
      }
    });
  add(CellCommands.showPlan, trans.__('Show the Plan'), found => actions.showPlan(found));
  add(CellCommands.runOn, trans.__('Run on…'), found => actions.runOn(found));
  add(CellCommands.setBudget, trans.__('Budget…'), found => actions.setBudget(found));
  add(CellCommands.turnOff, trans.__('Turn Off'), found => actions.turnOff(found), isOn);
}

/** The active cell, if the button can do something with it. */
function targetOf({ tracker, watcherOf }: ICommandOptions): ITarget | null {
  const panel = tracker.currentWidget;
  const cell = panel?.content.activeCell;
  const watcher = panel ? watcherOf(panel) : undefined;
  if (!panel?.model || !cell || cell.isDisposed || watcher === undefined) {
    return null;
  }
  return cell.model.type === 'code' && speaksPython(panel)
    ? { panel, cell, watcher }
    : null;
}

/** Whether a notebook's kernel is Python's, or nobody knows yet. */
export function speaksPython(panel: NotebookPanel): boolean {
  const language = panel.model?.defaultKernelLanguage;
  return !language || language === 'python';
}

function pressOf(target: ITarget | null): Press {
  return target === null ? 'none' : press(target.watcher.state(target.cell));
}

function labels(
  what: Press,
  trans: TranslationBundle
): { readonly label: string; readonly caption: string } {
  switch (what) {
    case 'run':
      return {
        label: trans.__('Run Cell with Cloud Button'),
        caption: trans.__('Run this cell with its loops in parallel, from now on')
      };
    case 'on':
      return {
        label: trans.__('Turn Cloud Button On'),
        caption: trans.__('Run this cell with its loops in parallel the next time')
      };
    case 'off':
      return {
        label: trans.__('Turn Cloud Button Off'),
        caption: trans.__('Run this cell plainly again, from now on')
      };
    case 'cancel':
      return {
        label: trans.__('Cancel the Job of This Cell'),
        caption: trans.__('Cancel the job of this cell; what is finished is kept')
      };
    case 'none':
      return {
        label: trans.__('Run Cell with Cloud Button'),
        caption: trans.__('Cloud Button: for code cells of Python, while they do not run')
      };
  }
}

class Actions {
  constructor(
    private readonly _options: ICommandOptions,
    private readonly _trans: TranslationBundle
  ) {}

  async press(target: ITarget | null): Promise<void> {
    if (target === null) {
      return;
    }
    const { cell, watcher } = target;
    const choice = watcher.choice(cell);
    switch (pressOf(target)) {
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
