/** The plugins of Cloud Button's JupyterLab extension. */

import { cellPlugin } from './cell';
import { jobsPlugin } from './jobs';

export default [jobsPlugin, cellPlugin];
