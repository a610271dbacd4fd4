/** The widget in the sidebar: draws the panel, and tells its model whether it is seen. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';

import { cloudIcon } from '../icons';
import { type IPanelProps, Panel } from './body';
import type { PanelModel } from './model';

export class PanelShell extends ReactWidget {
  constructor(private readonly _props: IPanelProps) {
    super();
    this.id = 'cloudbutton-panel';
    this.addClass('cb-Panel');
    this.title.icon = cloudIcon;
    this.title.caption = caption(_props.trans);
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', caption(_props.trans));
  }

  get model(): PanelModel {
    return this._props.model;
  }

  override dispose(): void {
    this.model.dispose();
    super.dispose();
  }

  override render(): JSX.Element {
    return <Panel {...this._props} />;
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.model.isVisible = true;
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this.model.isVisible = this.isVisible;
  }

  protected override onBeforeHide(message: Message): void {
    this.model.isVisible = false;
    super.onBeforeHide(message);
  }

  protected override onBeforeDetach(message: Message): void {
    this.model.isVisible = false;
    super.onBeforeDetach(message);
  }
}

function caption(trans: TranslationBundle): string {
  return trans.__('Cloud Button: jobs, backend, spend');
}
