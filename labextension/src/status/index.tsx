/** The plugin that shows in the status bar how many jobs run, and what they have cost. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IStatusBar } from '@jupyterlab/statusbar';
import {
  ITranslator,
  nullTranslator,
  type TranslationBundle
} from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';

import * as format from '../format';
import { cloudIcon } from '../icons';
import { Commands, IJobsModel } from '../tokens';

export const statusPlugin: JupyterFrontEndPlugin<void> = {
  id: 'cloudbutton:status',
  description: 'Running jobs and their cost in the status bar.',
  autoStart: true,
  requires: [IJobsModel, IStatusBar],
  optional: [ITranslator],
  activate: (
    app: JupyterFrontEnd,
    jobs: IJobsModel,
    statusBar: IStatusBar,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('cloudbutton');
    const item = ReactWidget.create(
      <UseSignal signal={jobs.changed}>
        {() => (
          <StatusItem
            jobs={jobs}
            trans={trans}
            onClick={() => void app.commands.execute(Commands.showPanel)}
          />
        )}
      </UseSignal>
    );
    item.addClass('cb-Status');
    statusBar.registerStatusItem('cloudbutton:status', { item, align: 'left', rank: 5 });
  }
};

interface IStatusItemProps {
  jobs: IJobsModel;
  trans: TranslationBundle;
  onClick: () => void;
}

function StatusItem({ jobs, trans, onClick }: IStatusItemProps): JSX.Element {
  const { active } = jobs;
  const spend = active.reduce((sum, job) => sum + job.spend, 0);
  const text = [
    active.length > 0 ? trans._n('%1 job', '%1 jobs', active.length) : null,
    spend > 0 ? format.money(spend) : null
  ].filter(part => part !== null);
  const title =
    active.length > 0
      ? active.map(job => `${job.name}: ${job.done}/${job.total ?? '?'}`).join('\n')
      : trans.__('Cloud Button: no job runs');
  return (
    <button type="button" className="cb-Status-button" title={title} onClick={onClick}>
      <cloudIcon.react tag="span" className="cb-Status-icon" />
      {text.length > 0 && <span>{text.join(' · ')}</span>}
    </button>
  );
}
