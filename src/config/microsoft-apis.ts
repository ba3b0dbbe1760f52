/**
 * Audiences of Microsoft's own APIs, and their names. Any app can get a token for one of these: whoever
 * accepts it lets callers of another API in (confused deputy). In lower case, without a slash at the end.
 */
const names: ReadonlyMap<string, string> = new Map([
  ['00000003-0000-0000-c000-000000000000', 'Microsoft Graph'],
  ['https://graph.microsoft.com', 'Microsoft Graph'],
  ['https://graph.microsoft.us', 'Microsoft Graph (US government)'],
  ['https://dod-graph.microsoft.us', 'Microsoft Graph (US government)'],
  ['https://microsoftgraph.chinacloudapi.cn', 'Microsoft Graph (China)'],
  ['00000002-0000-0000-c000-000000000000', 'Azure AD Graph'],
  ['https://graph.windows.net', 'Azure AD Graph'],
  ['797f4846-ba00-4fd7-ba43-dac1f8f63013', 'Azure Resource Manager'],
  ['https://management.azure.com', 'Azure Resource Manager'],
  ['https://management.core.windows.net', 'Azure Resource Manager'],
  ['https://management.usgovcloudapi.net', 'Azure Resource Manager (US government)'],
  ['https://management.core.usgovcloudapi.net', 'Azure Resource Manager (US government)'],
  ['https://management.chinacloudapi.cn', 'Azure Resource Manager (China)'],
  ['https://management.core.chinacloudapi.cn', 'Azure Resource Manager (China)'],
  ['cfa8b339-82a2-471a-a3c9-0fc0be7a4093', 'Azure Key Vault'],
  ['https://vault.azure.net', 'Azure Key Vault'],
  ['e406a681-f3d4-42a8-90b6-c2b029497af1', 'Azure Storage'],
  ['https://storage.azure.com', 'Azure Storage'],
  ['022907d3-0f1b-48f7-badc-1ba6abab6d66', 'Azure SQL'],
  ['https://database.windows.net', 'Azure SQL'],
  ['https://ossrdbms-aad.database.windows.net', 'Azure Database'],
  ['https://cosmos.azure.com', 'Azure Cosmos DB'],
  ['https://servicebus.azure.net', 'Azure Service Bus'],
  ['https://eventhubs.azure.net', 'Azure Event Hubs'],
  ['https://cognitiveservices.azure.com', 'Azure AI services'],
  ['https://ai.azure.com', 'Azure AI Foundry'],
  ['https://monitor.azure.com', 'Azure Monitor'],
  ['https://api.loganalytics.io', 'Azure Log Analytics'],
  ['6dae42f8-4368-4678-94ff-3960e28e3630', 'Azure Kubernetes Service'],
  ['2ff814a6-3304-4ab8-85cb-cd0e6f879c1d', 'Azure Databricks'],
  ['499b84ac-1321-427f-aa17-267ca6975798', 'Azure DevOps'],
  ['https://app.vssps.visualstudio.com', 'Azure DevOps'],
  ['00000002-0000-0ff1-ce00-000000000000', 'Exchange Online'],
  ['https://outlook.office365.com', 'Exchange Online'],
  ['https://outlook.office.com', 'Exchange Online'],
  ['00000003-0000-0ff1-ce00-000000000000', 'SharePoint Online'],
  ['c5393580-f805-4401-95e8-94b7a6ef2fc2', 'Office 365 Management'],
  ['https://manage.office.com', 'Office 365 Management'],
  ['00000009-0000-0000-c000-000000000000', 'Power BI'],
  ['https://analysis.windows.net/powerbi/api', 'Power BI'],
  ['fb60f99c-7a34-4190-8149-302f77469936', 'workload identity federation'],
  ['azureadtokenexchange', 'workload identity federation'],
  ['azureadtokenexchangeusgov', 'workload identity federation (US government)'],
  ['azureadtokenexchangechina', 'workload identity federation (China)'],
])

/** The API of Microsoft that an audience stands for, in whatever form; undefined for any other. */
export function nameMicrosoftApi(audience: string): string | undefined {
  const plain = audience
    .toLowerCase()
    .replace(/^spn:/, '')
    .replace(/^api:\/\//, '')
    .replace(/\/+$/, '')
  const known = names.get(plain)
  if (known !== undefined) return known
  // SharePoint has an audience for each organization.
  return /^https:\/\/[a-z0-9-]+\.sharepoint\.(?:com|us|cn)$/.test(plain)
    ? 'SharePoint Online'
    : undefined
}
