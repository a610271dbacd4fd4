/** The plugins of Cloud Button's JupyterLab extension. */

import { cellPlugin } from './cell';
import { jobsPlugin } from './jobs';
import { panelPlugin } from './panel';
import { statusPlugin } from './status';

export default [jobsPlugin, cellPlugin, panelPlugin, statusPlugin];
