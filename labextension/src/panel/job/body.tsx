/** One job opened: what it is, what can be done, and everything that is known of it. */

import type { TranslationBundle } from '@jupyterlab/translation';
import {
  addBelowIcon,
  caretLeftIcon,
  copyIcon,
  downloadIcon,
  notebookIcon,
  refreshIcon,
  stopIcon,
  UseSignal
} from '@jupyterlab/ui-components';
import * as React from 'react';

import type { IJob } from '../../api/types';
import * as format from '../../format';
import type { IActions } from '../actions';
import {
  Action,
  detachedMeans,
  Facts,
  Problem,
  ProgressBar,
  Section,
  StateDot,
  stateName,
  useElapsed
} from '../parts';
import { effect } from './attach';
import { factsOf } from './facts';
import { Durations, Memory } from './figuresView';
import type { JobModel } from './model';
import { Captured, Code, ErrorList, Log } from './texts';

/** Its plotting library is loaded when the first job is opened. */
const Timeline = React.lazy(async () => {
  const { Timeline } = await import('./timelineView');
  return { default: Timeline };
});

interface IJobProps {
  model: JobModel;
  actions: IActions;
  trans: TranslationBundle;
  onClose: () => void;
}

export function Job(props: IJobProps): JSX.Element {
  const { model, trans, onClose } = props;
  return (
    <article className="cb-Job" aria-label={trans.__('Job %1', model.id)}>
      <button type="button" className="cb-Link cb-Job-back" onClick={onClose}>
        <caretLeftIcon.react tag="span" className="cb-Link-icon" />
        <span>{trans.__('All jobs')}</span>
      </button>
      <UseSignal signal={model.changed}>
        {() => (
          <>
            <Problem text={model.problem} />
            {model.job !== null && <JobBody {...props} job={model.job} />}
          </>
        )}
      </UseSignal>
    </article>
  );
}

function JobBody(props: IJobProps & { job: IJob }): JSX.Element {
  const { model, job, trans } = props;
  const elapsed = useElapsed(job);
  const detached = detachedMeans(job, trans);
  return (
    <>
      <header className="cb-Job-head">
        <h2 title={job.name}>{job.name}</h2>
        <span className="cb-Job-state" data-state={job.state}>
          <StateDot state={job.state} />
          {stateName(job.state, trans)}
          {detached !== null && (
            <span className="cb-Tag" title={detached}>
              {trans.__('detached')}
            </span>
          )}
        </span>
      </header>
      <ProgressBar job={job} trans={trans} />
      <Facts facts={factsOf(job, elapsed, trans)} />
      <Buttons {...props} />
      {job.warnings.map(warning => (
        <p key={warning} className="cb-Warning">
          {warning}
        </p>
      ))}
      {job.error !== null && (model.errors?.groups.length ?? 0) === 0 && (
        <p className="cb-Problem">{job.error}</p>
      )}
      <Sections {...props} />
    </>
  );
}

function Buttons({ model, job, actions, trans }: IJobProps & { job: IJob }): JSX.Element {
  const line = job.can_attach ? (model.details?.attach ?? null) : null;
  const saveReport = async () => {
    const report = await model.report();
    if (report !== null) {
      actions.save(`cloudbutton-${job.id}.html`, report);
    }
  };
  return (
    <>
      <div className="cb-Actions">
        {job.can_cancel && (
          <Action
            warn
            icon={stopIcon}
            label={trans.__('Cancel')}
            disabled={model.asked === 'sent'}
            onClick={() => void model.cancel()}
          />
        )}
        {job.can_retry && (
          <Action
            primary
            icon={refreshIcon}
            label={job.failed > 0 ? trans.__('Retry failed') : trans.__('Go on')}
            title={trans.__('Run what failed or was left; what is done is kept')}
            disabled={model.asked === 'sent'}
            onClick={() => void model.retry()}
          />
        )}
        {line !== null && (
          <Action
            primary={job.state === 'lost'}
            icon={addBelowIcon}
            label={trans.__('Attach here')}
            title={line}
            onClick={() => void actions.attach(job, line)}
          />
        )}
        {actions.canOpen(job) && (
          <Action
            icon={notebookIcon}
            label={trans.__('Go to cell')}
            title={job.notebook ?? ''}
            onClick={() => void actions.openCell(job)}
          />
        )}
        <Action
          icon={downloadIcon}
          label={trans.__('Report')}
          title={trans.__('Save a page about this job, to keep or to share')}
          onClick={() => void saveReport()}
        />
        <Action
          icon={copyIcon}
          label={trans.__('Copy ID')}
          title={job.id}
          onClick={() => actions.copy(job.id)}
        />
      </div>
      {line !== null && job.state !== 'done' && (
        <p className="cb-Hint">{effect(job, trans)}</p>
      )}
      <p className="cb-Hint" aria-live="polite">
        {model.asked === 'sent' && trans.__('Asked the job’s kernel …')}
        {model.asked === 'unanswered' &&
          trans.__('The job’s kernel has not answered; the request was taken back.')}
      </p>
    </>
  );
}

function Sections({ model, trans }: IJobProps): JSX.Element {
  const { details, errors, log } = model;
  const options = Object.entries(details?.options ?? {}).filter(
    ([, value]) => value !== null && value !== ''
  );
  return (
    <>
      {errors !== null && errors.groups.length > 0 && (
        <Section title={trans.__('Errors')} aside={format.count(errors.total)} open>
          <ErrorList errors={errors} trans={trans} />
        </Section>
      )}
      <Section title={trans.__('Timeline')} open>
        <UseSignal signal={model.batchesChanged}>
          {() =>
            model.batches.length > 0 ? (
              <React.Suspense fallback={null}>
                <Timeline model={model} trans={trans} />
              </React.Suspense>
            ) : (
              <p className="cb-Hint">{trans.__('No batch has ended yet.')}</p>
            )
          }
        </UseSignal>
      </Section>
      <Section title={trans.__('Durations of items')} open>
        <Durations model={model} trans={trans} />
      </Section>
      <Section title={trans.__('Memory')}>
        <Memory model={model} trans={trans} />
      </Section>
      {log.length > 0 && (
        <Section title={trans.__('Output')} open>
          <Log pieces={log} />
        </Section>
      )}
      {details !== null && (
        <Section
          title={trans.__('Captured')}
          aside={format.count(details.capture.values?.length ?? 0)}
        >
          <Captured capture={details.capture} trans={trans} />
        </Section>
      )}
      {details?.plan && (
        <Section title={trans.__('What the cell was turned into')}>
          <Code text={details.plan} />
        </Section>
      )}
      {details?.source && (
        <Section title={trans.__('Code')}>
          <Code text={details.source} />
        </Section>
      )}
      {details !== null && (
        <Section title={trans.__('Options and origin')}>
          <Facts
            facts={[
              { name: 'id', value: model.id },
              { name: 'seed', value: details.seed },
              { name: trans.__('host'), value: details.host },
              { name: 'pid', value: details.pid },
              ...options.map(([name, value]) => ({ name, value: String(value) }))
            ]}
          />
        </Section>
      )}
    </>
  );
}
