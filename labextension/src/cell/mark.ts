/** What a cell shows of its button: a cloud beside the prompt, a badge, a line of progress. */

import type { CodeCell } from '@jupyterlab/cells';
import type { IDisposable } from '@lumino/disposable';

import { cloudIcon } from '../icons';
import type { IProgress } from './progress';

export interface IShown {
  readonly on: boolean;
  /** "lambda · $0.50", or how far the job is. */
  readonly badge: string;
  /** The same for the toolbar. */
  readonly brief: string;
  readonly progress: IProgress | null;
  /** All of it in words, for those who hear it and for the tooltip. */
  readonly label: string;
}

/**
 * Draws on one cell, inside its input area: the elements are laid over it, so nothing moves.
 *
 * The badge stands where JupyterLab puts the toolbar of the active cell. There it is an item of that
 * toolbar instead (`badge.ts`), and the style sheet hides this one.
 */
export class CellMark implements IDisposable {
  constructor(private readonly _cell: CodeCell) {
    this._cloud.className = 'cb-Cell-cloud';
    this._cloud.setAttribute('role', 'img');
    cloudIcon.element({ container: this._cloud, tag: 'span', elementSize: 'small' });
    this._badge.className = 'cb-Cell-badge';
    this._badge.setAttribute('aria-hidden', 'true'); // the cloud says it all
    this._bar.className = 'cb-Cell-progress';
    this._bar.setAttribute('role', 'progressbar');
    this._bar.append(document.createElement('span'));
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  show(shown: IShown): void {
    // Of a cell that is not drawn yet there is no input area to put it into.
    const area = this._isDisposed || this._cell.isDisposed ? null : this._cell.inputArea;
    if (!area) {
      return;
    }
    const { on, badge, progress, label } = shown;
    place(this._cloud, area.node, on || progress !== null);
    place(this._badge, area.node, badge !== '');
    place(this._bar, area.node, progress !== null);
    this._cloud.setAttribute('aria-label', label);
    this._cloud.title = label;
    this._cloud.classList.toggle('cb-mod-running', progress !== null);
    this._badge.textContent = badge;
    this._badge.title = label;
    if (progress !== null) {
      this._draw(progress, label);
    }
  }

  dispose(): void {
    this._isDisposed = true;
    for (const node of [this._cloud, this._badge, this._bar]) {
      node.remove();
    }
  }

  private _draw({ part, text }: IProgress, label: string): void {
    const bar = this._bar;
    bar.classList.toggle('cb-mod-unknown', part === null);
    (bar.firstElementChild as HTMLElement).style.width = `${100 * (part ?? 1)}%`;
    bar.setAttribute('aria-label', label);
    bar.setAttribute('aria-valuetext', text);
    if (part === null) {
      bar.removeAttribute('aria-valuenow');
    } else {
      bar.setAttribute('aria-valuenow', `${Math.round(100 * part)}`);
    }
  }

  private readonly _badge = document.createElement('span');
  private readonly _bar = document.createElement('div');
  private readonly _cloud = document.createElement('span');
  private _isDisposed = false;
}

function place(node: HTMLElement, parent: HTMLElement, isShown: boolean): void {
  if (!isShown) {
    node.remove();
  } else if (node.parentElement !== parent) {
    parent.append(node);
  }
}
