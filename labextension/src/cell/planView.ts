/** Shows a cell's plan (`%%cloud --dry-run`) in a dialog; the cell's outputs stay as they are. */

import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { Cell } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import type { Widget } from '@lumino/widgets';

import { paragraphs } from './asking';
import { type Choice, headerOf } from './choice';
import { type Answer, PlanError, plan } from './kernel';

export async function showPlan(
  panel: NotebookPanel,
  cell: Cell,
  choice: Choice,
  trans: TranslationBundle
): Promise<void> {
  const kernel = panel.sessionContext.session?.kernel;
  let body: Widget;
  if (!kernel) {
    body = paragraphs([trans.__('A plan needs a running kernel, and there is none.')]);
  } else {
    try {
      const text = cell.model.sharedModel.getSource();
      body = await rendered(panel, await plan(kernel, { choice, text }));
    } catch (error) {
      if (!(error instanceof PlanError)) {
        throw error;
      }
      body = paragraphs([trouble(error.answer, trans) ?? error.message]);
    }
  }
  await showDialog({
    title: trans.__('The plan for this cell, with %1', headerOf(choice)),
    body,
    buttons: [Dialog.okButton({ label: trans.__('Close') })]
  });
}

/** Why the kernel cannot do what the button needs, for the user; null if it can. */
export function trouble(answer: Answer, trans: TranslationBundle): string | null {
  switch (answer.kind) {
    case 'absent':
      return trans.__(
        'The Python of this kernel has no Cloud Button, so the cell runs as it stands. Install it there: `%pip install cloudbutton`, then restart the kernel.'
      );
    case 'other version':
      return trans.__(
        'The Python of this kernel has another version of Cloud Button than this JupyterLab, and they do not understand each other. Install the same version in both, then restart the kernel.'
      );
    case 'aborted':
      return trans.__('The kernel did not answer: it was interrupted or restarted.');
    case 'refused':
      return answer.message;
    case 'ready':
      return null;
  }
}

async function rendered(
  panel: NotebookPanel,
  data: ReadonlyPartialJSONObject
): Promise<Widget> {
  const { rendermime } = panel.content;
  const type = rendermime.preferredMimeType(data, 'any') ?? 'text/plain';
  const body = rendermime.createRenderer(type);
  await body.renderModel(rendermime.createModel({ data, trusted: true }));
  body.addClass('cb-Plan');
  return body;
}
