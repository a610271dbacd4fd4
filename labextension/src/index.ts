/** The plugins of Cloud Button's JupyterLab extension. */

import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'cloudbutton:plugin',
  description: 'The button on the cell, and the panel of jobs.',
  autoStart: true,
  activate: () => {}
};

export default [plugin];
