/** The plugins of Cloud Button's JupyterLab extension. */

import { jobsPlugin } from './jobs';

export default [jobsPlugin];
