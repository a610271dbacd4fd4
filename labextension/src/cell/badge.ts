/** The badge as an item of the active cell's toolbar, where it has its place beside the buttons. */

import type { Cell } from '@jupyterlab/cells';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import type { NotebookWatcher } from './watcher';

export class ToolbarBadge extends Widget {
  constructor(
    private readonly _cell: Cell,
    private readonly _watcher: NotebookWatcher | undefined
  ) {
    super({ node: document.createElement('span') });
    this.addClass('cb-Cell-badge');
    this.node.setAttribute('aria-hidden', 'true'); // the cloud beside the prompt says it all
    _watcher?.changed.connect(this._onChanged, this);
    this._show();
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._show();
  }

  private _onChanged(_: NotebookWatcher, ids: ReadonlySet<string>): void {
    if (!this._cell.isDisposed && ids.has(this._cell.model.id)) {
      this._show();
    }
  }

  private _show(): void {
    const shown =
      this._cell.isDisposed || this._cell.model.type !== 'code'
        ? undefined
        : this._watcher?.shown(this._cell);
    this.node.textContent = shown?.brief ?? '';
    this.node.title = shown?.label ?? '';
    this.setHidden(!shown?.brief);
  }
}
