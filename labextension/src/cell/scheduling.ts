/** Gets the kernel ready before each execution of a cell whose button is on. */

import { Notification } from '@jupyterlab/apputils';
import type { Cell } from '@jupyterlab/cells';
import { PageConfig } from '@jupyterlab/coreutils';
import { type INotebookTracker, NotebookActions } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { Asking } from './asking';
import { choiceOf, KEY } from './choice';
import { speaksPython } from './commands';
import { type Answer, prepare } from './kernel';
import { trouble } from './planView';

/** Milliseconds that a warning stays. */
const SHOWN_FOR = 10_000;

/**
 * Send our request before the cell's own.
 *
 * The signal is emitted in the turn of the event loop that sends the cell's request, and before it: the
 * kernel answers in that order, so it holds for Run All and for a busy or restarting kernel, and there
 * is nothing to remember. If an earlier cell fails, both are aborted.
 */
export function prepareBeforeRuns(
  tracker: INotebookTracker,
  asking: Asking,
  trans: TranslationBundle
): void {
  const warned = new WeakSet<Kernel.IKernelConnection>();

  const warn = (kernel: Kernel.IKernelConnection, answer: Answer): void => {
    const problem = answer.kind === 'aborted' ? null : trouble(answer, trans);
    if (problem !== null && !warned.has(kernel)) {
      warned.add(kernel);
      Notification.warning(problem, { autoClose: SHOWN_FOR });
    }
  };

  NotebookActions.executionScheduled.connect((_, { notebook, cell }) => {
    const panel = tracker.find(each => each.content === notebook);
    const kernel = panel?.sessionContext.session?.kernel;
    const choice = choiceOf((cell as Cell).model.getMetadata(KEY));
    if (!panel || !kernel || !choice.on || !speaksPython(panel)) {
      return;
    }
    const cellId = cell.model.id;
    const question = { panel, cellId, choice };
    const early = asking.early(question);
    const request = {
      choice,
      cell_id: cellId,
      may_spend: asking.agreed(panel),
      notebook: `${PageConfig.getOption('serverRoot')}/${panel.context.localPath}`
    };
    const answered = prepare(kernel, request, async backend => {
      const known = backend === choice.backend ? await early : null;
      return known ?? (await asking.maySpend({ ...question, backend }));
    });
    void answered.then(answer => warn(kernel, answer));
  });
}
