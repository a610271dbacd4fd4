/** Asks before money is spent: one dialog per backend and notebook, shared by all that need the answer. */

import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import type { Client } from '../api/client';
import { money } from '../format';
import { type Choice, KEY } from './choice';
import { agreed, withConsent } from './consent';

export interface IQuestion {
  readonly panel: NotebookPanel;
  readonly cellId: string;
  readonly choice: Choice;
  readonly backend: string;
}

export class Asking {
  constructor(
    private readonly _client: Client,
    private readonly _trans: TranslationBundle,
    private readonly _options: {
      /** Who agrees; consent of others does not count. */
      readonly user: () => string;
      /** The setting "confirm before spending". */
      readonly confirms: () => boolean;
    }
  ) {}

  /** Backends on which this user lets the cells of a notebook spend money. */
  agreed(panel: NotebookPanel): string[] {
    return agreed(panel.model?.getMetadata(KEY), this._options.user());
  }

  /** Whether a cell may spend; asks, unless that was answered in this notebook before. */
  async maySpend(question: IQuestion): Promise<boolean> {
    const { panel, backend } = question;
    if (!this._options.confirms() || this.agreed(panel).includes(backend)) {
      return true;
    }
    // Run All: several cells wait for the same answer.
    const key = `${panel.id}\0${backend}`;
    let answer = this._open.get(key);
    if (answer === undefined) {
      answer = this._ask(question).finally(() => this._open.delete(key));
      this._open.set(key, answer);
    }
    return answer;
  }

  /**
   * Ask now what the kernel will ask when it reaches the cell, if that can be known: the user may
   * not want to wait for the cells before it.
   */
  async early(question: Omit<IQuestion, 'backend'>): Promise<boolean | null> {
    const { backend } = question.choice;
    if (typeof backend !== 'string' || !(await this._costs(backend))) {
      return null;
    }
    return this.maySpend({ ...question, backend });
  }

  private async _costs(backend: string): Promise<boolean> {
    if (!this._options.confirms()) {
      return false;
    }
    try {
      const known = await this._client.backends();
      return known.some(each => each.name === backend && each.costs);
    } catch {
      return false; // the kernel knows for certain, and will ask
    }
  }

  private async _ask({ panel, cellId, choice, backend }: IQuestion): Promise<boolean> {
    const trans = this._trans;
    const result = await showDialog({
      title: trans.__('Spend money on %1?', backend),
      body: paragraphs([
        trans.__('This cell runs on %1, which is billed.', backend),
        await this._estimate(panel, cellId, backend),
        typeof choice.budget === 'number'
          ? trans.__('It stops at its budget of %1.', money(choice.budget))
          : trans.__('It has no budget of its own: “Budget…” sets one.'),
        trans.__('You are asked once in this notebook.')
      ]),
      buttons: [
        Dialog.cancelButton({ label: trans.__('Do Not Run') }),
        Dialog.okButton({ label: trans.__('Run on %1', backend) })
      ],
      // It may open while the user types: Enter must not spend.
      defaultButton: 0
    });
    if (!result.button.accept) {
      return false;
    }
    if (panel.model && !panel.model.isDisposed) {
      const metadata = panel.model.getMetadata(KEY);
      const user = this._options.user();
      panel.model.setMetadata(KEY, withConsent(metadata, backend, user, new Date()));
    }
    return true;
  }

  private async _estimate(
    panel: NotebookPanel,
    cellId: string,
    backend: string
  ): Promise<string> {
    const unknown = this._trans.__('What it will cost is not known yet.');
    try {
      const path = panel.context.localPath;
      const { expected, low, high, message } = await this._client.estimate(
        backend,
        path,
        cellId
      );
      if (expected === null) {
        return message || unknown;
      }
      const sum = this._trans.__(
        'It will cost about %1 (%2 to %3).',
        money(expected),
        money(low),
        money(high)
      );
      return message ? `${sum} ${message}` : sum;
    } catch {
      return unknown;
    }
  }

  private readonly _open = new Map<string, Promise<boolean>>();
}

/** A dialog's body, one paragraph each. */
export function paragraphs(lines: readonly string[]): Widget {
  const node = document.createElement('div');
  node.className = 'cb-Dialog';
  for (const line of lines) {
    const paragraph = document.createElement('p');
    paragraph.textContent = line;
    node.append(paragraph);
  }
  return new Widget({ node });
}
