terraform {
  required_providers { aws = { source = "hashicorp/aws", version = "5.100.0" } }
}
variable "api" { type = string }
variable "generation" {
  type    = number
  default = 1
}
provider "aws" {
  region                      = "ap-northeast-1"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints { backup = var.api }
}
provider "aws" {
  alias                       = "far"
  region                      = "ap-northeast-3"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints { backup = var.api }
}
locals { second = var.generation > 1 }
resource "aws_backup_vault" "near" {
  name = "near"
  tags = { team = local.second ? "database" : "storage" }
}
resource "aws_backup_vault" "far" {
  provider = aws.far
  name     = "far"
}
resource "aws_backup_logically_air_gapped_vault" "gap" {
  name               = "gap"
  min_retention_days = 7
  max_retention_days = 35
}
resource "aws_backup_vault_lock_configuration" "far" {
  provider           = aws.far
  backup_vault_name  = aws_backup_vault.far.name
  min_retention_days = local.second ? 3 : 1
  max_retention_days = 365
}
resource "aws_backup_vault_policy" "near" {
  backup_vault_name = aws_backup_vault.near.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "NobodyDeletes"
      Effect    = "Deny"
      Principal = "*"
      Action    = local.second ? ["backup:DeleteRecoveryPoint", "backup:StartCopyJob"] : ["backup:DeleteRecoveryPoint"]
      Resource  = "*"
    }]
  })
}
resource "aws_backup_vault_notifications" "near" {
  backup_vault_name   = aws_backup_vault.near.name
  sns_topic_arn       = "arn:aws:sns:ap-northeast-1:000000000000:backups"
  backup_vault_events = local.second ? ["BACKUP_JOB_COMPLETED", "RESTORE_JOB_COMPLETED"] : ["BACKUP_JOB_COMPLETED"]
}
resource "aws_backup_plan" "nightly" {
  name = "nightly"
  tags = { team = "storage" }
  rule {
    rule_name                    = "night"
    target_vault_name            = aws_backup_vault.near.name
    schedule                     = local.second ? "cron(0 4 ? * * *)" : "cron(0 3 ? * * *)"
    schedule_expression_timezone = "Asia/Tokyo"
    start_window                 = 60
    completion_window            = 360
    recovery_point_tags          = { tier = "gold" }
    lifecycle { delete_after = local.second ? 40 : 35 }
    copy_action {
      destination_vault_arn = aws_backup_vault.far.arn
      lifecycle { delete_after = 90 }
    }
  }
  dynamic "rule" {
    for_each = local.second ? [1] : []
    content {
      rule_name         = "noon"
      target_vault_name = aws_backup_vault.near.name
      schedule          = "cron(0 12 ? * * *)"
    }
  }
}
resource "aws_backup_selection" "tagged" {
  name         = local.second ? "tagged-again" : "tagged"
  plan_id      = aws_backup_plan.nightly.id
  iam_role_arn = "arn:aws:iam::000000000000:role/backup"
  selection_tag {
    type  = "STRINGEQUALS"
    key   = "backup"
    value = "yes"
  }
}
resource "aws_backup_selection" "named" {
  name          = "named"
  plan_id       = aws_backup_plan.nightly.id
  iam_role_arn  = "arn:aws:iam::000000000000:role/backup"
  resources     = ["arn:aws:files:ap-northeast-1:000000000000:tree/*"]
  not_resources = ["arn:aws:files:ap-northeast-1:000000000000:tree/scratch"]
  condition {
    string_equals {
      key   = "aws:ResourceTag/stage"
      value = "production"
    }
    string_not_like {
      key   = "aws:ResourceTag/team"
      value = "test*"
    }
  }
}
resource "aws_backup_restore_testing_plan" "weekly" {
  name                = "weekly"
  schedule_expression = local.second ? "cron(0 13 ? * * *)" : "cron(0 12 ? * * *)"
  start_window_hours  = 5
  recovery_point_selection {
    algorithm             = "LATEST_WITHIN_WINDOW"
    include_vaults        = ["*"]
    recovery_point_types  = ["SNAPSHOT"]
    selection_window_days = local.second ? 14 : 7
  }
}
resource "aws_backup_restore_testing_selection" "files" {
  name                      = "files"
  restore_testing_plan_name = aws_backup_restore_testing_plan.weekly.name
  protected_resource_type   = "Files"
  iam_role_arn              = "arn:aws:iam::000000000000:role/backup"
  protected_resource_arns   = ["*"]
  validation_window_hours   = local.second ? 2 : 1
}
resource "aws_backup_region_settings" "here" {
  resource_type_opt_in_preference = {
    "Files"  = true
    "Volume" = !local.second
    "RDS"    = true
  }
}
data "aws_backup_vault" "near" { name = aws_backup_vault.near.name }
data "aws_backup_plan" "nightly" { plan_id = aws_backup_plan.nightly.id }
data "aws_backup_selection" "named" {
  plan_id      = aws_backup_plan.nightly.id
  selection_id = aws_backup_selection.named.id
}
output "vault" { value = data.aws_backup_vault.near.arn }
output "version" { value = data.aws_backup_plan.nightly.version }
