/** This month's spending: by backend against the estimates, and day by day. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { UseSignal } from '@jupyterlab/ui-components';

import { backendLabel, type ISpend } from '../../api/types';
import * as format from '../../format';
import { Problem, Section } from '../parts';
import { daily, type SpendModel } from './model';

interface ISpendProps {
  model: SpendModel;
  trans: TranslationBundle;
}

interface ISpendPartProps {
  spend: ISpend;
  trans: TranslationBundle;
}

interface IBilledProps {
  month: ISpend['month'][number];
  trans: TranslationBundle;
}

export function Spend({ model, trans }: ISpendProps): JSX.Element {
  return (
    <UseSignal signal={model.changed}>
      {() => <SpendBody model={model} trans={trans} />}
    </UseSignal>
  );
}

function SpendBody({ model, trans }: ISpendProps): JSX.Element {
  const { spend } = model;
  if (spend === null) {
    return <Problem text={model.problem} />;
  }
  const backends = [...spend.month].sort((a, b) => b.spend - a.spend || b.jobs - a.jobs);
  return (
    <div className="cb-Spend">
      <Problem text={model.problem} />
      <p className="cb-Total">
        <strong>{format.money(spend.total)}</strong> {trans.__('this month')}
      </p>
      <Today spend={spend} trans={trans} />
      <Days model={model} trans={trans} />
      {backends.length > 0 ? (
        <table className="cb-Table">
          <thead>
            <tr>
              <th scope="col">{trans.__('Backend')}</th>
              <th scope="col">{trans.__('Jobs')}</th>
              <th scope="col">{trans.__('Estimated')}</th>
              <th scope="col">{trans.__('Billed')}</th>
            </tr>
          </thead>
          <tbody>
            {backends.map(each => (
              <Billed key={backendLabel(each)} month={each} trans={trans} />
            ))}
          </tbody>
        </table>
      ) : (
        <p className="cb-Hint">{trans.__('No job has run this month.')}</p>
      )}
      <Estimates spend={spend} trans={trans} />
      <p className="cb-Hint">
        {trans.__(
          'Costs are computed from what the backends report and their published prices; their bill may also name taxes, discounts and storage.'
        )}
      </p>
    </div>
  );
}

/** What a backend's jobs of this month have cost. */
function Billed({ month, trans }: IBilledProps): JSX.Element {
  const { estimate, jobs, spend } = month;
  return (
    <tr>
      <th scope="row">{backendLabel(month)}</th>
      <td>{format.count(jobs)}</td>
      <td>{estimate ? format.money(estimate) : '–'}</td>
      <td title={estimate ? difference(spend, estimate, trans) : undefined}>
        {format.money(spend)}
      </td>
    </tr>
  );
}

/** What today's jobs have spent of what they may; nothing where they may spend anything. */
function Today({ spend, trans }: ISpendPartProps): JSX.Element | null {
  const { budget, spend: spent } = spend.today;
  if (budget === null) {
    return null;
  }
  const text = trans.__(
    '%1 of at most %2 today',
    format.money(spent),
    format.money(budget)
  );
  return (
    <div className="cb-Today">
      <div
        className="cb-Progress"
        role="meter"
        aria-label={text}
        aria-valuemin={0}
        aria-valuemax={budget}
        aria-valuenow={spent}
      >
        <span
          className={spent < budget ? 'cb-Progress-done' : 'cb-Progress-failed'}
          style={{ width: `${spent < budget ? (100 * spent) / budget : 100}%` }}
        />
      </div>
      {text}
    </div>
  );
}

/** How good the estimates were that were made before jobs, or at their beginning. */
function Estimates({ spend, trans }: ISpendPartProps): JSX.Element | null {
  const { money, seconds } = spend.estimates;
  const rows = [
    { name: trans.__('Cost'), found: money },
    { name: trans.__('Time'), found: seconds }
  ];
  if (money === null && seconds === null) {
    return null;
  }
  return (
    <Section title={trans.__('How good estimates were')} open>
      <table className="cb-Table">
        <thead>
          <tr>
            <td />
            <th scope="col">{trans.__('Jobs')}</th>
            <th scope="col">{trans.__('Off by')}</th>
            <th scope="col">{trans.__('Held')}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(
            ({ name, found }) =>
              found !== null && (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  <td>{format.count(found.jobs)}</td>
                  <td>{format.percent(found.median_error)}</td>
                  <td>{format.percent(found.within)}</td>
                </tr>
              )
          )}
        </tbody>
      </table>
      <p className="cb-Hint">
        {trans.__(
          'Off by: half of them were closer to what came. Held: the share whose interval had it; nine of ten is what it is meant for.'
        )}
      </p>
    </Section>
  );
}

function Days({ model, trans }: ISpendProps): JSX.Element | null {
  if (model.spend === null) {
    return null;
  }
  const days = daily(model.spend, new Date());
  const most = Math.max(...days.map(day => day.spend));
  if (most === 0) {
    return null;
  }
  const total = days.reduce((sum, day) => sum + day.spend, 0);
  return (
    <>
      <div
        className="cb-Bars"
        role="img"
        aria-label={trans.__(
          'Spending of the last %1 days: %2, at most %3 on one day',
          days.length,
          format.money(total),
          format.money(most)
        )}
      >
        {days.map(day => (
          <span
            key={day.date}
            className="cb-Bars-slot"
            title={trans._n(
              '%2: %3, %1 job',
              '%2: %3, %1 jobs',
              day.jobs,
              dayName(day.date),
              format.money(day.spend)
            )}
          >
            <span
              style={{
                height: day.spend > 0 ? `max(2px, ${(100 * day.spend) / most}%)` : 0
              }}
            />
          </span>
        ))}
      </div>
      <div className="cb-Bars-axis" aria-hidden="true">
        <span>{dayName(days[0]?.date ?? '')}</span>
        <span>{trans.__('today')}</span>
      </div>
    </>
  );
}

function dayName(date: string): string {
  return new Date(`${date}T12:00`).toLocaleDateString(undefined, {
    day: 'numeric',
    month: 'short'
  });
}

function difference(billed: number, estimate: number, trans: TranslationBundle): string {
  const percent = Math.round((100 * (billed - estimate)) / estimate);
  return percent > 0
    ? trans.__('%1% more than estimated', percent)
    : trans.__('%1% less than estimated', -percent);
}
