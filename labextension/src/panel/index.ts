/** The plugin that adds the panel, and the commands that show it. */

import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { settingsOf } from '../cell/settings';
import { cloudIcon } from '../icons';
import { Commands, IJobsModel } from '../tokens';
import { Actions } from './actions';
import { Attaching } from './attaching';
import { PanelModel } from './model';
import { PanelShell } from './shell';

/** The plugin whose schema the extension's settings are in. */
const SETTINGS = 'cloudbutton:plugin';
/** After JupyterLab's own (property inspector 200, debugger 850). */
const RANK = 900;

export const panelPlugin: JupyterFrontEndPlugin<void> = {
  id: 'cloudbutton:panel',
  description: 'A sidebar with jobs, backend and spend.',
  autoStart: true,
  requires: [IJobsModel, IDocumentManager, INotebookTracker],
  optional: [ITranslator, ICommandPalette, ILayoutRestorer, ISettingRegistry],
  activate: (
    app: JupyterFrontEnd,
    jobs: IJobsModel,
    documents: IDocumentManager,
    notebooks: INotebookTracker,
    translator: ITranslator | null,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    settings: ISettingRegistry | null
  ) => {
    const trans = (translator ?? nullTranslator).load('cloudbutton');
    const model = new PanelModel(jobs);
    let confirms = true;
    const attaching = new Attaching(notebooks, jobs.client, trans, () => confirms);
    const panel = new PanelShell({
      model,
      actions: new Actions(documents, attaching, trans),
      translator: translator ?? nullTranslator,
      trans
    });
    void settings?.load(SETTINGS).then(loaded => {
      const read = () => {
        const values = settingsOf(loaded);
        model.refreshRate = values.refreshRate;
        confirms = values.confirmBeforeSpending;
      };
      loaded.changed.connect(read);
      read();
    });
    restorer?.add(panel, panel.id);
    app.shell.add(panel, 'right', { rank: RANK, type: 'Cloud Button' });

    const show = () => app.shell.activateById(panel.id);
    app.commands.addCommand(Commands.showPanel, {
      label: trans.__('Show the Jobs of Cloud Button'),
      icon: cloudIcon,
      execute: show
    });
    app.commands.addCommand(Commands.showJob, {
      label: trans.__('Show a Job of Cloud Button'),
      execute: args => {
        model.openJob(String(args.job));
        show();
      }
    });
    palette?.addItem({ command: Commands.showPanel, category: trans.__('Cloud Button') });
  }
};
