/** The commands of the button, on the active cell of the notebook in front. */

import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';

import { cloudIcon } from '../icons';
import { CellActions, type IActionOptions, type ITarget } from './actions';
import { type Press, press } from './press';
import type { NotebookWatcher } from './watcher';

export const CellCommands = {
  press: 'cloudbutton:press',
  showPlan: 'cloudbutton:show-plan',
  runOn: 'cloudbutton:run-on',
  setBudget: 'cloudbutton:set-budget',
  turnOff: 'cloudbutton:turn-off'
} as const;

export interface ICommandOptions extends IActionOptions {
  readonly tracker: INotebookTracker;
  readonly watcherOf: (panel: NotebookPanel) => NotebookWatcher | undefined;
}

export function addCommands(commands: CommandRegistry, options: ICommandOptions): void {
  const trans = options.translator.load('cloudbutton');
  const target = () => targetOf(options);
  const actions = new CellActions(options, trans);
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
    execute: () => {
      const found = target();
      return found === null ? undefined : actions.press(found);
    }
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

/** Whether a notebook's kernel is Python's, or not known yet. */
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
